package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDoctorDrops(t *testing.T) {
	const snmp = "Ip: A B\nIp: 1 2\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors\nUdp: 100 1 7 100 %d 0\n"
	d := doctor{proc: procWith(t, map[string]string{"net/snmp": fmt.Sprintf(snmp, 7), "net/udp": udpTable, "net/udp6": udp6Table}, nil)}
	d.plan.ports = []port{{"statsd", "udp", ":8125"}, {"statsd", "tcp", ":8125"}}
	got := d.drops()
	if len(got) != 2 || got[0].grade != warn || !strings.HasPrefix(got[0].text, "7 of 107 packets") || !strings.HasPrefix(got[1].text, "22 packets on port 8125") {
		t.Errorf("%+v", got)
	}
	d.proc = procWith(t, map[string]string{"net/snmp": fmt.Sprintf(snmp, 0)}, nil)
	if got := d.drops(); len(got) != 1 || got[0].grade != ok {
		t.Errorf("%+v", got)
	}
	d.proc = procWith(t, map[string]string{"net/snmp": "Udp: RcvbufErrors\n"}, nil)
	if got := d.drops(); len(got) != 1 || got[0].grade != warn {
		t.Errorf("%+v", got)
	}
}

func TestDoctorDirectory(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(path string, worst grade, text string) {
		t.Helper()
		d := doctor{plan: plan{data: path}}
		got := d.directory()
		if len(got) == 0 || !strings.Contains(got[0].text, text) || (got[0].grade == fail) != (worst == fail) {
			t.Errorf("%s: %+v", path, got)
		}
	}
	f(home, ok, "can be written")
	f(filepath.Join(home, "a", "b"), ok, "will be made")
	f(file, fail, "is not a directory")
	f(filepath.Join(file, "b"), fail, "cannot look at it")
	if left, _ := os.ReadDir(home); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if got := space("/data", 50<<20, 1e12); got.grade != fail {
		t.Errorf("%+v", got)
	}
	if got := space("/data", 500<<20, 1e12); got.grade != warn {
		t.Errorf("%+v", got)
	}
}

func TestDoctorKernel(t *testing.T) {
	d := doctor{proc: procWith(t, map[string]string{"sys/net/core/rmem_max": "212992\n"}, nil)}
	if got := d.receiveBuffer(); !strings.Contains(got.text, "rmem_max is 212992") || got.grade == warn && !strings.Contains(got.change, "rmem_max=33554432") {
		t.Errorf("%+v", got)
	}
	if got, err := buffer(64 << 10); err != nil || got < 64<<10 {
		t.Errorf("%d, %v", got, err)
	}
	if got := clock(time.Unix(0, 0)); got.grade != fail {
		t.Errorf("%+v", got)
	}
	if got := openFiles(); got.text == "" {
		t.Errorf("%+v", got)
	}
}
