package test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// writesConfig is that of a weir which others write to; TOKEN is replaced.
const writesConfig = `http: {listen: "127.0.0.1:0", token: "TOKEN"}
sources: {statsd: [], graphite: [{listen: "tcp://127.0.0.1:0"}, {listen: "udp://127.0.0.1:0"}]}
statsd: {management: {listen: ""}}
`

const writesToken = "s3cret"

// startWrites starts weir with its data in dir; it ends with the test.
func startWrites(t *testing.T, dir string) *process {
	t.Helper()
	writeFile(t, dir, "weir.yaml", strings.ReplaceAll(writesConfig, "TOKEN", writesToken))
	p, err := begin(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	p.token = writesToken
	if err := p.ready(); err != nil {
		t.Fatal(err)
	}
	return p
}

// write posts a body and returns the answer.
func (p *process) write(t *testing.T, path string, body []byte, header ...string) (status int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.http+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(content)
}

// value is what an expression of Prometheus has at a time: the value of its only series, or an error.
func (p *process) value(expression string, at int64) (string, error) {
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	path := "/prometheus/api/v1/query?" + url.Values{"query": {expression}, "time": {fmt.Sprint(at)}}.Encode()
	if err := p.ask(path, &answer); err != nil {
		return "", err
	}
	if len(answer.Data.Result) != 1 {
		return "", fmt.Errorf("%s has %d series, want one", expression, len(answer.Data.Result))
	}
	return fmt.Sprint(answer.Data.Result[0].Value[1]), nil
}

// wantValue fails the test unless an expression soon has the value.
func (p *process) wantValue(t *testing.T, expression string, at int64, want string) {
	t.Helper()
	if err := eventually(func() error {
		got, err := p.value(expression, at)
		if err == nil && got != want {
			err = fmt.Errorf("%s is %s, want %s", expression, got, want)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// InfluxDB's clients write in the ways of both versions, and a kill loses nothing of what was acknowledged.
func TestWritesInfluxDB(t *testing.T) {
	dir := t.TempDir()
	p := startWrites(t, dir)
	now := time.Now().Unix()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	for i := range 1000 { // as Telegraf's batches are
		fmt.Fprintf(z, "cpu,cpu=cpu%d,host=web\\ 1 usage_idle=%d.5,usage_user=1i,note=\"a text\" %d000000000\n", i%4, i, now-1000+int64(i))
	}
	z.Close()
	for _, c := range []struct {
		path, body string
		header     []string
		status     int
		answer     string // what it has
	}{
		{"/query?q=CREATE+DATABASE+%22telegraf%22&u=any&p=" + writesToken, "", nil, 200, `"results"`},
		{"/write?db=telegraf&u=any&p=" + writesToken, zipped.String(), []string{"Content-Encoding", "gzip"}, 204, ""},
		{"/write?db=telegraf&precision=s", fmt.Sprintf("v1,a=basic v=1 %d", now), []string{"Authorization", "Basic YW55OnMzY3JldA=="}, 204, ""},
		{"/api/v2/write?org=o&bucket=b&precision=ms", fmt.Sprintf("v2,a=t\"o\\,k\\=en v=2 %d999", now), []string{"Authorization", "Token " + writesToken}, 204, ""},
		{"/api/v2/write?org=o&bucket=b", "v2 v=1", nil, 401, "token"},
		{"/write?u=any&p=wrong", "v2 v=1", nil, 401, "token"},
		{"/api/v2/write?org=o&bucket=b&precision=s", fmt.Sprintf("v2 v=x %d\nhost:traffic,ifid=0,host=10.0.0.1 bytes_sent=5i,bytes_rcvd=6i %d\nv2 v=1 1700000000000", now, now),
			[]string{"Authorization", "Bearer " + writesToken}, 400, `partial write: unable to parse 'v2 v=x`},
	} {
		status, answer := p.write(t, c.path, []byte(c.body), c.header...)
		if status != c.status || !strings.Contains(answer, c.answer) {
			t.Errorf("%s: %d %s, want %d with %s", c.path, status, answer, c.status, c.answer)
		}
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	p.kill() // with SIGKILL, right after the last answer
	p = startWrites(t, dir)
	for expression, want := range map[string]string{
		`influx_cpu_value{field="usage_idle",cpu="cpu3",host="web 1"}`: "999.5", `influx_v1_value{a="basic",field="v"}`: "1", `influx_v2_value{a="t\"o,k=en",field="v"}`: "2",
		`host_traffic_bytes_rcvd{ifid="0",host="10.0.0.1"}`: "6",
	} {
		p.wantValue(t, expression, now, want)
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
}

// Debian's prometheus scrapes weir and writes what it has to the same weir.
func TestWritesPrometheus(t *testing.T) {
	p := startWrites(t, t.TempDir())
	target := strings.TrimPrefix(p.http, "http://")
	dir := t.TempDir()
	writeFile(t, dir, "prometheus.yml", fmt.Sprintf(`global: {scrape_interval: 1s}
scrape_configs:
  - job_name: weir
    authorization: {credentials: %[1]s}
    static_configs: [{targets: [%[2]q], labels: {odd: 'a "b", c\d=é;x'}}]
remote_write:
  - url: http://%[2]s/api/v1/write
    authorization: {credentials: %[1]s}
    queue_config: {batch_send_deadline: 1s}
`, writesToken, target))
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	var log lockedBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start prometheus, which make deps-test installs: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended does not matter
		close(ended)
	}()
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(stop)
	odd := `odd="a \"b\", c\\d=é;x"`
	soon := time.Now().Unix() + 60
	p.wantValue(t, `up{job="weir",`+odd+`}`, soon, "1")
	p.wantValue(t, `count(weir_received_total{component="writes.prometheus",unit="points",`+odd+`})`, soon, "1")
	stop() // it sends what is left
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("prometheus says:\n%s", log.String())
	}
	var last status
	if err := p.ask("/api/v1/status", &last); err != nil {
		t.Fatal(err)
	}
	for _, account := range last.Ledger {
		if account.Component == "writes.prometheus" {
			if account.Passed == 0 {
				t.Error("nothing was stored")
			}
			for reason, n := range account.Discarded {
				if n > 0 && reason != "nan" && reason != "stale" {
					t.Errorf("%d points are lost: %s", n, reason)
				}
			}
		}
	}
}

// nc sends Graphite's lines over TCP and UDP.
func TestWritesGraphite(t *testing.T) {
	p := startWrites(t, t.TempDir())
	where := regexp.MustCompile(`graphite="tcp://127\.0\.0\.1:(\d+) udp://127\.0\.0\.1:(\d+)"`).FindStringSubmatch(p.log())
	if where == nil {
		t.Fatalf("the log does not say where lines arrive:\n%s", p.log())
	}
	now := time.Now().Unix()
	send := func(text string, args ...string) {
		cmd := exec.Command("nc", args...)
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("nc: %v %s", err, out)
		}
	}
	send(fmt.Sprintf("servers.web01.load 1.5 %d\nbad line\ndisk.used;host=web01;rack=é 7 -1\nlast 12 %d", now, now), "-N", "127.0.0.1", where[1])
	send(fmt.Sprintf("udp.metric 3 %d\n", now), "-u", "-w", "1", "127.0.0.1", where[2])
	for expression, want := range map[string]string{
		`graphite_metric_value{path="servers.web01.load"}`: "1.5", `graphite_metric_value{path="disk.used",host="web01",rack="é"}`: "7", `graphite_metric_value{path="udp.metric"}`: "3",
	} {
		p.wantValue(t, expression, now+30, want)
	}
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	if err := eventually(func() error {
		var now status
		if err := p.ask("/api/v1/status", &now); err != nil {
			return err
		}
		for _, account := range now.Ledger {
			if account.Component == "writes.graphite" {
				if account.Passed == 3 && account.Discarded["bad_line"] == 1 && account.Discarded["unfinished_line"] == 1 {
					return nil
				}
				text, _ := json.Marshal(account) // plain data
				return errors.New(string(text))
			}
		}
		return errors.New("there is no account")
	}); err != nil {
		t.Error(err)
	}
	if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Errorf("ended with %d %v", code, err)
	}
}
