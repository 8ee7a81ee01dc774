package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/telemetry"
)

// procWith is a proc file system with some files and symbolic links.
func procWith(t *testing.T, files, links map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write := func(name string, create func(path string) error) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := create(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		write(name, func(path string) error { return os.WriteFile(path, []byte(content), 0o600) })
	}
	for name, target := range links {
		write(name, func(path string) error { return os.Symlink(target, path) })
	}
	return root
}

const udpTable = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  340: 00000000:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 17
  341: 0100007F:A001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4713 2 0000000000000000 99
garbage
`

const udp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  340: 00000000000000000000000000000000:1FBD 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 5
`

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F98 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 5001 1 0000000000000000 100 0 0 10 0
   1: 0100007F:1F98 0100007F:C0DE 01 00000000:00000000 00:00000000 00000000     0        0 5002 1 0000000000000000 100 0 0 10 0
`

func TestDoctorSockets(t *testing.T) {
	d := doctor{proc: procWith(t, map[string]string{"net/udp": udpTable, "net/udp6": udp6Table, "net/tcp": tcpTable}, nil)}
	if diff := cmp.Diff([]socket{{8125, "4711", 17}, {40961, "4713", 99}, {8125, "4712", 5}}, d.sockets("udp"), cmp.AllowUnexported(socket{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]socket{{8088, "5001", 0}}, d.sockets("tcp"), cmp.AllowUnexported(socket{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDoctorOwner(t *testing.T) {
	d := doctor{proc: procWith(t,
		map[string]string{
			"net/udp": udpTable, "net/udp6": udp6Table, "net/tcp": tcpTable,
			"net/unix": "Num RefCount Protocol Flags Type St Inode Path\n0: 00000002 00000000 00010000 0001 01 6001 /run/weir.sock\n",
			"12/comm":  "weir\n", "13/comm": "node\n", "14/comm": "other\n", "self/exe": "",
		},
		map[string]string{"12/fd/3": "socket:[4712]", "13/fd/9": "socket:[5001]", "13/fd/10": "/dev/null", "14/fd/1": "socket:[6001]", "14/exe": "../self/exe"},
	)}
	f := func(p port, want process) {
		t.Helper()
		if got := d.owner(p); got != want {
			t.Errorf("%v: %v, want %v", p, got, want)
		}
	}
	f(port{"statsd", "udp", ":8125"}, process{12, "weir", true})
	f(port{"http", "tcp", "127.0.0.1:8088"}, process{13, "node", false})
	f(port{"statsd", "unix", "/run/weir.sock"}, process{14, "other", true})
	f(port{"statsd", "tcp", ":8125"}, process{})
	f(port{"statsd", "tcp", "nonsense"}, process{})
}

// The report on real sockets: free, taken by this test, impossible.
func TestDoctorPort(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := doctor{proc: "/proc"}
	me := fmt.Sprintf("(process %d)", os.Getpid())
	f := func(p port, want grade, text string) {
		t.Helper()
		if got := d.port(p); got.grade != want || !strings.Contains(got.text, text) || (got.change == "") != (want == ok) {
			t.Errorf("%v: %+v", p, got)
		}
	}
	f(port{"statsd", "udp", "127.0.0.1:0"}, ok, "free")
	f(port{"statsd", "tcp", "127.0.0.1:0"}, ok, "free")
	f(port{"statsd", "udp", taken.LocalAddr().String()}, ok, "taken by Weir "+me) // as this test is
	f(port{"statsd", "tcp", "203.0.113.7:0"}, fail, "does not have that address")
	f(port{"statsd", "unix", socket}, ok, "taken by Weir "+me)
	f(port{"statsd", "unix", socket + "2"}, ok, "free")
	if got := d.port(port{"statsd", "tcp", "no-port"}); got.grade != fail {
		t.Errorf("%+v", got)
	}
	table := fmt.Sprintf("0: 0100007F:%X 0:0 07 0:0 0:0 0 0 0 77 2 0 0\n", taken.LocalAddr().(*net.UDPAddr).Port)
	d.proc = procWith(t, map[string]string{"net/udp": table, "5/comm": "node\n"}, map[string]string{"5/fd/3": "socket:[77]"})
	f(port{"statsd", "udp", taken.LocalAddr().String()}, fail, "taken by node (process 5)")
	d.proc = procWith(t, map[string]string{"net/udp": table}, nil)
	f(port{"statsd", "udp", taken.LocalAddr().String()}, fail, "cannot be seen")
}

func TestDoctorDaemon(t *testing.T) {
	server := serveAPI(t, "")
	where := connection{url: server.URL}
	c, err := where.client()
	if err != nil {
		t.Fatal(err)
	}
	d := doctor{client: c}
	if got := d.daemon(context.Background()); len(got) != 1 || got[0].grade != ok || !strings.Contains(got[0].text, "weir v1 at") {
		t.Errorf("%+v", got)
	}
	server.Close()
	if got := d.daemon(context.Background()); len(got) != 1 || got[0].grade != ok || !strings.Contains(got[0].text, "none answers") {
		t.Errorf("%+v", got)
	}
}

// Who spent a budget is named, the worst three.
func TestDoctorOverflow(t *testing.T) {
	f := func(o telemetry.Spent, text, change string) {
		t.Helper()
		if got := overflowing(o); got.grade != warn || got.text != text || !strings.Contains(got.change, change) {
			t.Errorf("%+v", got)
		}
	}
	all := []telemetry.Offender{{Name: "counter a", Items: 9}, {Name: "set b\x1b", Items: 3}, {Name: "timer c", Items: 2}, {Name: "gauge d", Items: 1}}
	f(telemetry.Spent{Component: "statsd.values", Budget: "tag_sets", Items: 15, Offenders: all},
		`statsd.values put 15 items in buckets because the budget tag_sets was spent, by 'counter a' (9), $'set b\x1b' (3), 'timer c' (2), others`, "statsd.max_tag_sets")
	f(telemetry.Spent{Component: "x", Budget: "y", Items: 1}, "x put 1 items in buckets because the budget y was spent, by none that is still held", "/metrics")
}

func TestDoctor(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("WEIR_URL", "http://127.0.0.1:1")
	code, out, errs := run("doctor")
	for _, subject := range []string{"versions", "node", "daemon", "port", "data"} {
		if !strings.Contains(out, "  "+subject) {
			t.Errorf("%q is missing:\n%s", subject, out)
		}
	}
	if want := strings.Contains(out, "fail "); (code == exitFailure) != want || want != strings.Contains(errs, "failed") {
		t.Errorf("code %d, %q:\n%s", code, errs, out)
	}
	if code, _, errs := run("doctor", "-c", "missing.yaml"); code != exitUsage || !strings.Contains(errs, "missing.yaml") {
		t.Errorf("code %d, %q", code, errs)
	}
}

func TestReadPlan(t *testing.T) {
	file := filepath.Join(t.TempDir(), "weir.yaml")
	const text = `
data: /var/lib/weir
http: {listen: "0.0.0.0:9000", token: s3cret}
sources:
  statsd: [{listen: "udp://:9125"}, {listen: "unix:///run/weir.sock"}]
statsd:
  management: {listen: "127.0.0.1:9126"}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readPlan(file)
	if err != nil {
		t.Fatal(err)
	}
	want := plan{
		ports: []port{
			{"statsd", "udp", ":9125"}, {"statsd", "unix", "/run/weir.sock"}, {"statsd's management console", "tcp", "127.0.0.1:9126"},
			{"the HTTP API", "tcp", "0.0.0.0:9000"},
		},
		data: "/var/lib/weir", url: "http://127.0.0.1:9000", token: "s3cret",
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(plan{}, port{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got, err := readPlan(""); err != nil || got.url != defaultURL || got.data != "./weir-data" {
		t.Errorf("%+v, %v", got, err)
	}
}
