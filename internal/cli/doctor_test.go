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
			"12/comm":  "weir\n", "13/comm": "node\n", "14/comm": "other\n",
		},
		map[string]string{"12/fd/3": "socket:[4712]", "13/fd/9": "socket:[5001]", "13/fd/10": "/dev/null", "14/fd/1": "socket:[6001]"},
	)}
	f := func(p port, want process) {
		t.Helper()
		if got := d.owner(p); got != want {
			t.Errorf("%v: %v, want %v", p, got, want)
		}
	}
	f(port{"statsd", "udp", ":8125"}, process{12, "weir"})
	f(port{"http", "tcp", "127.0.0.1:8088"}, process{13, "node"})
	f(port{"statsd", "unix", "/run/weir.sock"}, process{14, "other"})
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
	f(port{"statsd", "udp", taken.LocalAddr().String()}, fail, me)
	f(port{"statsd", "tcp", "203.0.113.7:0"}, fail, "does not have that address")
	f(port{"statsd", "unix", socket}, fail, me)
	f(port{"statsd", "unix", socket + "2"}, ok, "free")
	if got := d.port(port{"statsd", "tcp", "no-port"}); got.grade != fail {
		t.Errorf("%+v", got)
	}
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
