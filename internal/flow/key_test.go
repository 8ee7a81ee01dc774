package flow

import "testing"

func TestReadable(t *testing.T) {
	f := func(key, want string) {
		t.Helper()
		if got := Readable(key); got != want {
			t.Errorf("Readable(%q) = %q, want %q", key, got, want)
		}
	}
	f("C0.A8.01.02", "192.168.1.2")
	f("20010DB8000000000000000000000001", "2001:db8::1")
	f("p-01BB", "443")
	f("0A.81.4A.92_0000000A", "10.129.74.146_10")
	f("20010DB8000000000000000000000001_00000000", "2001:db8::1_0")
	for _, key := range []string{"", "06", "icmp08", "p-", "p-01bz", "p-01BB1", "TOTALBW", "SYS:GROUP_TOTALS", "C0A80102", "C0.A8.0102", "c0.a8.01.02",
		"0A.81.4A.92_", "0A.81.4A.92_0000000G", "0A.81.4A.92_A", "00:1C:C0:B9:B9:10", "2001.0DB8000000000000000000000001"} {
		f(key, "")
	}
}
