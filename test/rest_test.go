package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
)

// office is a Weir whose REST API has a first person.
type office struct {
	*testing.T
	*process
	dir     string
	session string // header Authorization
}

// officeConfig listens where the last run did, so that bots find it again.
func officeConfig(address string) string {
	return "data: ./data\nhttp: {listen: \"" + address + "\"}\nsources: {statsd: []}\nstatsd: {management: {listen: \"\"}}\n"
}

func newOffice(t *testing.T) *office {
	o := &office{T: t, dir: t.TempDir()}
	o.start("127.0.0.1:0")
	o.must(http.StatusCreated, "POST", "/admin/first", `{"name":"Root","username":"root","password":"a good password","email":""}`)
	o.logIn()
	return o
}

func (o *office) start(address string) {
	o.Helper()
	writeFile(o.T, o.dir, "weir.yaml", officeConfig(address))
	p, err := run(o.dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		o.Fatal(err)
	}
	o.process = p
	o.Cleanup(p.kill)
}

// again starts Weir where it was.
func (o *office) again() {
	o.Helper()
	o.start(strings.TrimPrefix(o.http, "http://"))
}

func (o *office) logIn() {
	o.Helper()
	response, _ := o.send("POST", "/auth/login", `{"username":"root","password":"a good password"}`)
	if o.session = response.Header.Get("X-JWT-Token"); o.session == "" {
		o.Fatal("no session:", response.Status)
	}
}

func (o *office) send(method, path, body string) (*http.Response, string) {
	o.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, o.http+"/api"+path, strings.NewReader(body))
	if err != nil {
		o.Fatal(err)
	}
	if o.session != "" {
		request.Header.Set("Authorization", o.session)
	}
	response, err := client.Do(request)
	if err != nil {
		o.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		o.Fatal(err)
	}
	return response, string(content)
}

func (o *office) must(status int, method, path, body string) string {
	o.Helper()
	response, answer := o.send(method, path, body)
	if response.StatusCode != status {
		o.Fatalf("%s %s: %s %s", method, path, response.Status, answer)
	}
	return answer
}

// made is the id of what a request makes.
func (o *office) made(path, body string) int64 {
	o.Helper()
	var answer struct{ ID int64 }
	if err := json.Unmarshal([]byte(o.must(http.StatusCreated, "POST", path, body)), &answer); err != nil {
		o.Fatal(err)
	}
	return answer.ID
}

// bot makes one that may do everything in accounts and returns its id and token.
func (o *office) bot(protocol string) (int64, string) {
	o.Helper()
	id := o.made("/bots", fmt.Sprintf(`{"name":"bot","protocol":%q}`, protocol))
	o.made(fmt.Sprintf("/bots/%d/permissions", id), `{"resource_prefix":"accounts","methods":null}`)
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(o.must(http.StatusOK, "GET", fmt.Sprintf("/bots/%d/token", id), "")), &answer); err != nil {
		o.Fatal(err)
	}
	return id, answer.Token
}

// data are the values of a path.
func (o *office) data(account int64, path string) map[int64]float64 {
	o.Helper()
	var answer struct {
		Paths map[string]struct {
			Data []struct{ T, V float64 }
		}
	}
	if err := json.Unmarshal([]byte(o.must(http.StatusOK, "GET", fmt.Sprintf("/accounts/%d/values/%s?t0=1000000000", account, path), "")), &answer); err != nil {
		o.Fatal(err)
	}
	all := make(map[int64]float64)
	for _, p := range answer.Paths[path].Data {
		all[int64(p.T)] = p.V
	}
	return all
}

// TestPythonBot runs a bot written in Python against the API, as its author would: it
// finds its jobs, does them, and notices what changes.
func TestPythonBot(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	account := o.made("/admin/accounts", `{"name":"Harbour office"}`)
	bot, token := o.bot("lamp")
	in := fmt.Sprintf("/accounts/%d", account)
	credential := o.made(in+"/credentials", `{"name":"c","protocol":"lamp","details":{"password":"sesame"}}`)
	half := o.made(in+"/sensors", `{"name":"half","protocol":"lamp","default_interval":1,"details":{"factor":"0.5"}}`)
	twice := o.made(in+"/sensors", `{"name":"twice","protocol":"lamp","default_interval":60,"details":{"factor":"2"}}`)
	entity := func(watts int) string {
		return fmt.Sprintf(`{"name":"desk","entity_type":"device","parent":null,"details":{"watts":"%d"},"protocols":{"lamp":{"credential":%d,"bot":%d,"sensors":[{"sensor":%d,"interval":null},{"sensor":%d,"interval":5}]}}}`, watts, credential, bot, half, twice)
	}
	lamp := o.made(in+"/entities/", entity(40))

	python := exec.CommandContext(t.Context(), "/usr/bin/python3", "testdata/pybot/bot.py")
	python.Env = append(environment(), "BACKEND_URL="+o.http+"/api", "BOT_TOKEN="+token, "JOBS_REFRESH_INTERVAL=0.3")
	var output lockedBuffer
	python.Stdout, python.Stderr = &output, &output
	if err := python.Start(); err != nil {
		t.Fatal(err)
	}
	defer python.Wait()
	defer python.Process.Kill()
	has := func(path string, want float64) {
		t.Helper()
		err := eventually(func() error {
			for _, v := range o.data(account, path) {
				if v == want {
					return nil
				}
			}
			return fmt.Errorf("%s is never %g", path, want)
		})
		if err != nil {
			t.Fatalf("%v; the bot says:\n%s", err, output.String())
		}
	}
	has(fmt.Sprintf("entity.%d.lamp.0.brightness", lamp), 20)
	has(fmt.Sprintf("entity.%d.lamp.1.brightness", lamp), 80)
	has(fmt.Sprintf("entity.%d.lamp.password", lamp), 6)
	o.must(http.StatusNoContent, "PUT", fmt.Sprintf("%s/entities/%d", in, lamp), entity(60))
	has(fmt.Sprintf("entity.%d.lamp.0.brightness", lamp), 30)
	o.must(http.StatusNoContent, "DELETE", fmt.Sprintf("%s/entities/%d/", in, lamp), "")
	if err := eventually(func() error {
		if !strings.Contains(output.String(), fmt.Sprintf("gone %d\n", lamp)) {
			return fmt.Errorf("the bot does not notice that the entity is gone:\n%s", output.String())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if said := output.String(); strings.Count(said, fmt.Sprintf("job %d [1, 5]\n", lamp)) != 2 {
		t.Errorf("the job did not begin exactly twice:\n%s", said)
	}
	if err := o.balanced(); err != nil {
		t.Error(err)
	}
	if code, err := o.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Error(code, err)
	}
	if strings.Contains(o.log(), token) {
		t.Error("the token is in the log")
	}
}

// TestKillWhileBotsPost kills Weir again and again while bots post: every value that was answered
// with 204 is there afterwards, and a bot with a spool delivers the rest with the times they had.
func TestKillWhileBotsPost(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	account := o.made("/admin/accounts", `{"name":"a"}`)
	_, token := o.bot("lamp")
	bot, err := collector.Dial(t.Context(), collector.ClientConfig{URL: o.http + "/api", Token: token, Spool: filepath.Join(o.dir, "spool")})
	if err != nil {
		t.Fatal(err)
	}
	defer bot.Close()

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var posting sync.WaitGroup
	var spooled, answered atomic.Int64
	base := time.Now().Unix() - 100_000
	address := o.http   // does not change while bots use it
	posting.Go(func() { // with a spool: no value is lost
		for n := int64(0); ctx.Err() == nil; n++ {
			if err := bot.SendResults(context.WithoutCancel(ctx), account, []collector.Value{{Path: "spooled", Value: float64(n), Time: time.Unix(base+n, 0)}}); err != nil {
				t.Error(err)
				return
			}
			spooled.Add(1)
			time.Sleep(time.Millisecond)
		}
	})
	var acknowledged []int64
	posting.Go(func() { // without: what was answered is there
		plain := http.Client{Timeout: patience}
		for n := int64(0); ctx.Err() == nil; n++ {
			body := fmt.Sprintf(`[{"p":"plain","t":%d,"v":%d}]`, base+n, n)
			request, err := http.NewRequest("PUT", fmt.Sprintf("%s/api/accounts/%d/values/?b=%s", address, account, token), strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			response, err := plain.Do(request)
			if err != nil {
				time.Sleep(5 * time.Millisecond)
				continue
			}
			response.Body.Close()
			if response.StatusCode == http.StatusNoContent {
				acknowledged = append(acknowledged, n)
				answered.Add(1)
			}
		}
	})
	for range 3 {
		before := answered.Load()
		if err := eventually(func() error {
			if answered.Load() < before+100 {
				return fmt.Errorf("nothing is answered")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := o.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-o.done
		time.Sleep(200 * time.Millisecond)
		o.again()
		if o.http != address {
			t.Fatalf("Weir is at %s now", o.http)
		}
	}
	stop()
	posting.Wait()
	o.logIn()
	plain := o.data(account, "plain")
	for _, n := range acknowledged {
		if v, ok := plain[base+n]; !ok || v != float64(n) {
			t.Errorf("value %d was answered with 204 and is not there", n)
		}
	}
	total := spooled.Load()
	if err := eventually(func() error {
		if s := bot.Stats(); s.Waiting > 0 || s.Delivered != total {
			return fmt.Errorf("of %d values: %+v", total, s)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	all := o.data(account, "spooled")
	for n := range total {
		if v, ok := all[base+n]; !ok || v != float64(n) {
			t.Errorf("value %d of the bot with a spool is not there with its time", n)
		}
	}
	t.Logf("%d values answered, %d through the spool", len(acknowledged), total)
}

// TestWeirBot runs a bot of Weir as a program of its own: it gets what there is to poll over
// the API, and what it measures while Weir is away arrives later.
func TestWeirBot(t *testing.T) {
	t.Parallel()
	o := newOffice(t)
	account := o.made("/admin/accounts", `{"name":"a"}`)
	_, token := o.bot("tcp")
	in := fmt.Sprintf("/accounts/%d", account)
	credential := o.made(in+"/credentials", `{"name":"c","protocol":"tcp","details":{}}`)
	sensor := o.made(in+"/sensors", `{"name":"s","protocol":"tcp","default_interval":1,"details":{"port":1}}`)
	entity := o.made(in+"/entities", fmt.Sprintf(`{"name":"me","entity_type":"device","details":{"ipv4":"127.0.0.1"},"protocols":{"tcp":{"credential":%d,"bot":2,"sensors":[{"sensor":%d,"interval":null}]}}}`, credential, sensor))
	writeFile(t, o.dir, "token", token+"\n")
	b, err := begin(o.dir, environment(), "bot", "tcp", "--url", o.http+"/api", "--token-file", "token", "--spool", "spool", "--refresh", "1s")
	if err != nil {
		t.Fatal(err)
	}
	defer b.kill()
	has := func(at func(map[int64]float64) bool) {
		t.Helper()
		if err := eventually(func() error {
			if values := o.data(account, fmt.Sprintf("entity.%d.tcp.up", entity)); !at(values) {
				return fmt.Errorf("there is %v", values)
			}
			return nil
		}); err != nil {
			t.Fatalf("%v; the bot says:\n%s", err, b.log())
		}
	}
	has(func(values map[int64]float64) bool { return len(values) > 0 })
	if code, err := o.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	away := time.Now().Unix() + 1
	if err := b.waitLog("values wait in the spool"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // of measurements that must wait
	back := time.Now().Unix()
	o.again()
	o.logIn()
	has(func(values map[int64]float64) bool {
		for at := range values {
			if at >= away && at < back {
				return true
			}
		}
		return false
	})
	if code, err := b.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Error(code, err, b.log())
	}
	if strings.Contains(b.log(), token) {
		t.Error("the token is in the log")
	}
}
