package timeseries

import (
	"slices"
	"strings"
	"testing"
)

func TestPackedValue(t *testing.T) {
	f := func(packed, key, want string, ok bool) {
		t.Helper()
		if got, found := PackedValue(packed, key); got != want || found != ok {
			t.Errorf("%q in %q: got %q, %v, want %q, %v", key, packed, got, found, want, ok)
		}
	}
	f("", "a", "", false)
	f("a=1;b=2", "a", "1", true)
	f("a=1;b=2", "b", "2", true)
	f("a=1;b=2", "c", "", false)
	f("a=1;a=2", "a", "1", true)
	f("aa=1", "a", "", false)
	f("a=x=y;b", "a", "x=y", true)
	f("a=1;b", "b", "", true)
	f("a=1;b=", "b", "", true)
	f("a=1", "", "", false)
	// escaped
	f(`a=x\;y;b=2`, "a", "x;y", true)
	f(`a=x\;y;b=2`, "b", "2", true)
	f(`a\=b=1`, "a=b", "1", true)
	f(`a=\\;b=2`, "a", `\`, true)
	f(`a=\\;b=2`, "b", "2", true)
	// what StatsD has stored
	f(`path=C:\temp;b=2`, "path", `C:\temp`, true)
	f(`a=1\`, "a", `1\`, true)
	f(`a\`, `a\`, "", true)
}

func TestUnpackTags(t *testing.T) {
	f := func(packed string, want ...string) {
		t.Helper()
		var got []string
		for key, value := range UnpackTags(packed) {
			got = append(got, key+" "+value)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", packed, got, want)
		}
	}
	f("")
	f("a=1", "a 1")
	f("a=1;b;c=", "a 1", "b ", "c ")
	f("a=1;;b=2;", "a 1", " ", "b 2")
	f(`a\;\==\;;b=2`, "a;= ;", "b 2")
	for key, value := range UnpackTags("a=1;b=2") {
		if key != "a" || value != "1" {
			t.Errorf("first is %q %q", key, value)
		}
		break
	}
}

func TestPackedDoesNotAllocate(t *testing.T) {
	buffer := make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() {
		buffer = AppendPacked(AppendPacked(buffer[:0], "host", "web-01"), "zone", "a;b")
		if v, ok := PackedValue("host=web-01;zone=a", "zone"); !ok || v != "a" {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzPacked: any keys and values come back as they were, in their order.
func FuzzPacked(f *testing.F) {
	f.Add("a", "1", "b", "2")
	f.Add(`\`, `;`, `=`, `\;=`)
	f.Add("", "", "", `\`)
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		packed := string(AppendPacked(AppendPacked(nil, k1, v1), k2, v2))
		var got []string
		for key, value := range UnpackTags(packed) {
			got = append(got, key, value)
		}
		if want := []string{k1, v1, k2, v2}; !slices.Equal(got, want) {
			t.Fatalf("%q: got %q, want %q", packed, got, want)
		}
		if v, ok := PackedValue(packed, k1); !ok || v != v1 {
			t.Fatalf("%q in %q: got %q, %v, want %q", k1, packed, v, ok, v1)
		}
		// Any text at all can be read, and reading ends.
		for key, value := range UnpackTags(v1) {
			if len(key)+len(value) > len(v1) || strings.Contains(v1, `\`) == false && strings.Contains(key, ";") {
				t.Fatalf("%q has %q=%q", v1, key, value)
			}
		}
	})
}
