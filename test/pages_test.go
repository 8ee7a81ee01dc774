package test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
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

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/bbdo"
)

// TestConnectorPages does what the pages about connectors say, as a reader would: the
// sh blocks of a page run in order, in one shell, and a text block behind one is what
// it prints. After weir run the test is the poller. yaml blocks are configurations
// that weir check finds fine.
func TestConnectorPages(t *testing.T) {
	pages := map[string]func(t *testing.T, r *reader){
		"../docs/connectors.md": installed,
		"../docs/connectors/file-logger.md": func(t *testing.T, r *reader) {
			r.connector = "files"
			r.expect("tail -n 2", `"service_description":"load"`, `"name":"load"`, "\nconnector.files ", "\nfiles  centreon  running ")
		},
		"../docs/connectors/influxdb.md": func(t *testing.T, r *reader) {
			db := startInfluxd(t)
			r.connector = "influx"
			r.replace = append(r.replace, "127.0.0.1:8086", db.host+":"+db.port, "--parameter user", "--parameter port="+db.port+" --parameter user",
				"parameters: {user", "parameters: {port: "+db.port+", user")
			r.expect("SELECT last(value)", `"tags":{"host":"alpha","name":"load","service":"load"},"columns":["time","last"]`, `,9.5]`)
		},
		"../docs/connectors/json-poster.md": func(t *testing.T, r *reader) {
			s := newService(t)
			r.connector = "poster"
			r.replace = append(r.replace, "https://example.org/events", s.URL)
			r.expect("weir queue ls", "\nconnector.poster ", "\nposter  centreon  running ")
			t.Cleanup(func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.events["OK - load 0.5 without a token"] != 1 || s.events["number 9 with Bearer secret"] != 1 || len(s.events) != 11 {
					t.Errorf("the service got %v", s.events)
				}
			})
		},
	}
	found, err := filepath.Glob("../docs/connectors/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(found, "../docs/connectors.md") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			prepare, ok := pages[file]
			if !ok {
				t.Fatal("the test does not know this page")
			}
			r := newReader(t)
			prepare(t, r)
			r.read(file)
		})
	}
}

// installed puts files in place that the configurations of the page name.
func installed(t *testing.T, r *reader) {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	const script = "function init() end\nfunction write() return true end\n"
	for name, text := range map[string]string{
		"etc/weir/ca.pem":   string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
		"etc/weir/key.json": fmt.Sprintf(`{"app_secret": %q, "salt": "c2FsdA=="}`, base64.StdEncoding.EncodeToString(make([]byte, 32))),
		"etc/centreon-broker/central-broker.json": `{"centreonBroker": {"output": [{"name": "splunk", "type": "lua",
			"path": "` + r.dir + `/usr/share/centreon-broker/lua/splunk-events-apiv2.lua"}]}}`,
		"usr/share/centreon-broker/lua/splunk-events-apiv2.lua": script,
		"splunk.lua": script,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(r.dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, r.dir, name, text)
	}
	r.replace = append(r.replace, "/etc/", r.dir+"/etc/", "/usr/", r.dir+"/usr/")
}

// service is what the JSON poster posts to.
type service struct {
	*httptest.Server
	mu     sync.Mutex
	events map[string]int // by "OUTPUT with AUTHORIZATION"
}

func newService(t *testing.T) *service {
	s := &service{events: make(map[string]int)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var events []logged
		if err := json.NewDecoder(r.Body).Decode(&events); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		token := "without a token"
		if given := r.Header.Get("Authorization"); given != "" {
			token = "with " + given
		}
		for _, e := range events {
			s.events[e.Output+" "+token]++
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// reader does what a page says, in a folder with the examples.
type reader struct {
	t         *testing.T
	dir       string
	connector string // that gets what the poller sends
	replace   []string
	expected  map[string][]string // what the block with a text prints
	started   func()              // called after weir run

	shell  io.Writer
	output *bufio.Reader
}

// newReader starts a shell, which ends with the test, and what it has started with it.
func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), expected: make(map[string][]string)}
	r.started = r.poll
	// Only the ports of the daemon change.
	r.replace = []string{"tcp://:5669", "tcp://127.0.0.1:0", "\nsources:\n", "\nhttp: {listen: '127.0.0.1:0'}\nsources:\n"}
	examples, err := filepath.Abs("../examples")
	if err == nil {
		err = os.Symlink(examples, filepath.Join(r.dir, "examples"))
	}
	if err != nil {
		t.Fatal(err)
	}
	bash := exec.Command("bash")
	bash.Dir = r.dir
	bash.Env = append(environment(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	bash.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell, err := bash.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, out, err := os.Pipe() // not a pipe of exec: Wait would wait for what runs in the background
	if err != nil {
		t.Fatal(err)
	}
	bash.Stdout, bash.Stderr = out, out
	if err := bash.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	r.shell, r.output = shell, bufio.NewReader(in)
	late := time.AfterFunc(3*patience, func() { _ = syscall.Kill(-bash.Process.Pid, syscall.SIGKILL) })
	t.Cleanup(func() {
		io.WriteString(shell, "\nkill $(jobs -p); wait\n") // in order, as a reader would; it may have ended
		shell.Close()
		_ = bash.Wait() // what it printed was looked at
		late.Stop()
		_ = syscall.Kill(-bash.Process.Pid, syscall.SIGKILL) // whatever is left
		in.Close()
	})
	r.run("set -eu -o pipefail")
	return r
}

// run runs commands and returns what they print.
func (r *reader) run(commands string) string {
	r.t.Helper()
	const end = "-- end of the block"
	if _, err := io.WriteString(r.shell, commands+"\necho '"+end+"'\n"); err != nil {
		r.t.Fatalf("%v after\n%s", err, commands)
	}
	var printed strings.Builder
	for {
		line, err := r.output.ReadString('\n')
		if before, ok := strings.CutSuffix(line, end+"\n"); ok { // the last line may be without an end
			printed.WriteString(before)
			return printed.String()
		}
		printed.WriteString(line)
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(r.dir, "weir.log")) // it may not be there
			r.t.Fatalf("the shell ended in\n%s\nprinted\n%s\nlog\n%s", commands, printed.String(), log)
		}
	}
}

func (r *reader) expect(block string, texts ...string) { r.expected[block] = texts }

// read follows a page.
func (r *reader) read(file string) {
	r.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	changed := strings.NewReplacer(r.replace...)
	blocks := regexp.MustCompile("(?ms)^ *```(\\w*)\n(.*?)^ *```$").FindAllStringSubmatch(string(text), -1)
	printed, checked := "", 0
	for _, block := range blocks {
		switch language, text := block[1], changed.Replace(block[2]); language {
		case "yaml":
			writeFile(r.t, r.dir, "block.yaml", text)
			r.run("weir check -c block.yaml")
		case "sh":
			printed = r.run(text)
			for has, texts := range r.expected {
				if !strings.Contains(block[2], has) {
					continue
				}
				checked++
				for _, want := range texts {
					if !strings.Contains(printed, want) {
						r.t.Errorf("does not print %q:\n%s\nprinted\n%s", want, text, printed)
					}
				}
			}
			if strings.Contains(text, "weir run ") {
				r.started()
			}
		case "text":
			if diff := cmp.Diff(text, printed); diff != "" {
				r.t.Errorf("(-page +printed):\n%s", diff)
			}
		default:
			if language != "" || !strings.Contains(text, "──") { // a drawing
				r.t.Errorf("nobody looks at this block:\n%s", text)
			}
		}
	}
	if len(blocks) == 0 || checked != len(r.expected) {
		r.t.Errorf("%d of %d blocks were checked: does the page still show everything?", checked, len(r.expected))
	}
}

// poll is a poller that sends its configuration and ten checks.
func (r *reader) poll() {
	r.t.Helper()
	p := new(process)
	err := eventually(func() error {
		log, err := os.ReadFile(filepath.Join(r.dir, "weir.log"))
		m := regexp.MustCompile(`msg=ready .*\bhttp=(\S+)`).FindSubmatch(log)
		if m == nil {
			return fmt.Errorf("not ready: %w\n%s", err, log)
		}
		p.http = string(m[1])
		p.stderr.Reset()
		p.stderr.Write(log)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	session := connect(r.t, p, bbdo.Version{Major: 3, Patch: 1})
	session.send(configuration...)
	session.send(checks(0, 10)...)
	session.stop()
	if err := p.settled(r.connector, len(configuration)+10); err != nil {
		r.t.Fatal(err)
	}
	r.run("export WEIR_URL=" + p.http)
}
