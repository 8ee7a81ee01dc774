package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// nodeBackends are third-party backends of StatsD as npm has them, and what each must bring
// to its service, here a fake one: expressions that must all match, whatever else is sent.
var nodeBackends = []struct {
	name, version string
	options       string // of the configuration; $HTTP, $TCP and $TLS are the fake services' ports, $CA its certificate
	reply         string // of the services over TCP and TLS to what they get
	interval      int    // milliseconds; 1000 unless given
	want          []string
}{
	{name: "statsd-influxdb-backend", version: "0.6.0",
		options: `influxdb: {host: '127.0.0.1', port: $HTTP, version: 0.9, database: 'db', username: 'u', password: 'p'}`,
		want:    []string{`POST /write\?`, `"c1\.counter","fields":\{"value":12\}`, `"g1\.gauge","fields":\{"value":3\}`, `"t1\.timer\.mean_90","fields":\{"value":20\}`, `"u_count","fields":\{"value":2\}`}},
	{name: "statsd-elasticsearch-backend", version: "0.4.2",
		options: `elasticsearch: {port: $HTTP, host: '127.0.0.1', path: '/', indexPrefix: 'weir', countType: 'counter', timerType: 'timer', timerDataType: 'timer_data', gaugeDataType: 'gauge'}`,
		want:    []string{`POST /weir-`, `"ns":"c1".*"val":12,`, `"ns":"g1".*"val":3,`, `"mean_90":20,.*"ns":"t1"`}},
	{name: "statsd-librato-backend", version: "2.0.16",
		options: `librato: {email: 'e', token: 't', api: 'http://127.0.0.1:$HTTP', includeMetrics: [/^[cgtu]/]}`,
		want:    []string{`POST /v1/measurements`, `"name":"c1"[^}]*"value":12`, `"name":"g1"[^}]*"value":3`, `"name":"t1"[^}]*"count":3`, `"name":"u"[^}]*"value":2`}},
	{name: "statsd-http-backend", version: "0.1.3",
		options: `hostname: 'h', bridgeURL: 'http://127.0.0.1:$HTTP/in'`,
		want:    []string{`POST /in`, `c1 12 \d+`, `gauges\.g1 3 \d+`, `timers\.t1\.mean_90 20 `, `sets\.u\.count 2`}},
	{name: "statsd-opentsdb-backend", version: "0.1.0",
		options: `opentsdbHost: '127.0.0.1', opentsdbPort: $TCP`,
		want:    []string{`put \S*c1\S* \d+ 12 `, `put \S*g1\S* \d+ 3 `, `put \S*t1\S*mean_90 \d+ `, `put \S*u\S* \d+ 2 `}},
	{name: "statsd-zabbix-backend", version: "0.9.0",
		options: `zabbixHost: '127.0.0.1', zabbixPort: $TCP, zabbixTargetHostname: 'h'`, reply: zabbixReply(),
		want: []string{`"host":"h","key":"c1\[total\]","value":12`, `"key":"g1","value":3`, `"key":"t1\[upper\]","value":30`}},
	{name: "statsd-datadog-backend", version: "0.3.0",
		options: `datadogApiKey: 'k', datadogApiHost: 'http://127.0.0.1:$HTTP', datadogTags: ['a:b'], hostname: 'h'`,
		want:    []string{`POST /api/v1/series\?api_key=k`, `"metric":"c1","points":\[\[\d+,12`, `"metric":"g1","points":\[\[\d+,3`, `"metric":"t1\.upper_90","points":\[\[\d+,30`}},
	{name: "statsd-instrumental-backend", version: "0.13.1", interval: 60000, reply: "ok\nok\n", // it sends once a minute: at the end
		options: `instrumental: {key: 'k', host: '127.0.0.1', port: $TLS, caCertFiles: ['$CA'], metricFiltersExclude: [/^statsd/]}`,
		want:    []string{`authenticate k`, `increment c1 12 \d+`, `gauge g1 3 \d+`, `gauge_absolute t1\.mean_90 `}},
}

func zabbixReply() string {
	body := `{"response":"success","info":"processed: 1; failed: 0; total: 1; seconds spent: 0.000055"}`
	return "ZBXD\x01" + string([]byte{byte(len(body)), 0, 0, 0, 0, 0, 0, 0}) + body
}

// nodeModules installs the backends in the user's cache, once, and returns the directory.
var nodeModules = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	var packages []string
	label := "backends"
	for _, b := range nodeBackends {
		packages = append(packages, b.name+"@"+b.version)
		label += "-" + b.version
	}
	directory := filepath.Join(cache, "weir-test", label)
	if _, err := os.Stat(filepath.Join(directory, "node_modules")); err == nil {
		return directory, nil
	}
	if err := os.MkdirAll(filepath.Dir(directory), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(directory), "installing-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", append([]string{"install", "--no-audit", "--no-fund", "--omit=optional", "--ignore-scripts", "--prefix", fresh}, packages...)...)
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot install third-party backends with %q: %w\n%s\nmake deps-test installs npm", install, err, out)
	}
	if err := os.Rename(fresh, directory); err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return "", err
	}
	return directory, nil
})

// fakeService is a service over HTTP, TCP and TLS that keeps all it gets.
type fakeService struct {
	http, tcp, tls int
	certificate    string // file
	mu             sync.Mutex
	got            strings.Builder
	news           chan struct{}
}

func newFakeService(t *testing.T, reply string) *fakeService {
	s := &fakeService{news: make(chan struct{})}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a cut body is kept as far as it came
		s.take([]byte(r.Method + " " + r.URL.String() + "\n" + string(body) + "\n"))
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"items":[]}`)
	}))
	t.Cleanup(web.Close)
	s.http = web.Listener.Addr().(*net.TCPAddr).Port
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS() // for its certificate
	certificates := certified.TLS.Certificates
	s.certificate = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificates[0].Certificate[0]})
	if err := os.WriteFile(s.certificate, block, 0o644); err != nil {
		t.Fatal(err)
	}
	certified.Close()
	listen := func(wrap func(net.Listener) net.Listener) int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		port := l.Addr().(*net.TCPAddr).Port
		l = wrap(l)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go s.serve(conn, reply)
			}
		}()
		return port
	}
	s.tcp = listen(func(l net.Listener) net.Listener { return l })
	s.tls = listen(func(l net.Listener) net.Listener { return tls.NewListener(l, &tls.Config{Certificates: certificates}) })
	return s
}

func (s *fakeService) serve(conn net.Conn, reply string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for buffer := make([]byte, 64<<10); ; {
		n, err := r.Read(buffer)
		s.take(buffer[:n])
		if err != nil {
			return
		}
		if reply != "" {
			io.WriteString(conn, reply)
			reply = ""
		}
	}
}

func (s *fakeService) take(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got.Write(data)
	close(s.news)
	s.news = make(chan struct{})
}

// wait returns the expressions that nothing matches in time.
func (s *fakeService) wait(expressions []string) (missing []string, all string) {
	late := time.After(patience)
	for {
		s.mu.Lock()
		all, missing = s.got.String(), nil
		news := s.news
		s.mu.Unlock()
		for _, e := range expressions {
			if !regexp.MustCompile(e).MatchString(all) {
				missing = append(missing, e)
			}
		}
		if len(missing) == 0 {
			return nil, all
		}
		select {
		case <-news:
		case <-late:
			return missing, all
		}
	}
}

// TestNodeBackends runs backends from npm as they are, each against a fake of its service.
func TestNodeBackends(t *testing.T) {
	modules, err := nodeModules()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range nodeBackends {
		t.Run(b.name, func(t *testing.T) {
			s := newFakeService(t, b.reply)
			interval := b.interval
			if interval == 0 {
				interval = 1000
			}
			udp, mgmt := freePort(t), freePort(t)
			options := strings.NewReplacer("$HTTP", fmt.Sprint(s.http), "$TCP", fmt.Sprint(s.tcp), "$TLS", fmt.Sprint(s.tls), "$CA", s.certificate).Replace(b.options)
			config := filepath.Join(t.TempDir(), "config.js")
			text := fmt.Sprintf("{port: %d, address: '127.0.0.1', mgmt_port: %d, mgmt_address: '127.0.0.1', flushInterval: %d, weir: {root: %q},\n  backends: ['%s'], %s}\n",
				udp, mgmt, interval, modules, b.name, options)
			if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := begin(t.TempDir(), os.Environ(), "statsd", config)
			if err != nil {
				t.Fatal(err)
			}
			defer p.kill()
			console := dropInConsole(t, p, mgmt)
			conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", udp))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "c1:5|c\nc1:7|c\ng1:3|g\nt1:10|ms:20|ms:30|ms\nu:a|s:b|s:a|s")
			if b.interval != 0 {
				for !strings.Contains(console("counters"), "c1: 12") {
				}
				if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			if missing, all := s.wait(b.want); len(missing) > 0 {
				t.Errorf("nothing matches %q in\n%s\nweir printed %s%s", missing, all, p.output(), p.log())
			}
		})
	}
}

// freePort is a port nobody listens on, over TCP and UDP.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		u, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		l.Close()
		if err == nil {
			u.Close()
			return port
		}
	}
}

// dropInConsole returns what asks the management console, once it is there and backends are loaded.
func dropInConsole(t *testing.T, p *process, port int) func(command string) string {
	t.Helper()
	ask := func(command string) string {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return ""
		}
		defer conn.Close()
		io.WriteString(conn, command+"\nquit\n")
		answer, _ := io.ReadAll(conn) // what came before a reset is enough
		return string(answer)
	}
	late := time.Now().Add(patience)
	for ask("health") == "" {
		select {
		case <-p.done:
			t.Fatalf("weir ended with %d:\n%s%s", p.code, p.output(), p.log())
		default:
		}
		if time.Now().After(late) {
			t.Fatalf("no management console:\n%s%s", p.output(), p.log())
		}
	}
	return ask
}
