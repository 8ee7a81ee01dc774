package exec

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// sink keeps what is sent, but for seconds, which must be sensible.
type sink struct{ lines []string }

// SendResults implements collector.Sink.
func (s *sink) SendResults(_ context.Context, account int64, values []collector.Value) error {
	for _, v := range values {
		switch err := collector.CheckPath(v.Path); {
		case err != nil:
			return err
		case strings.HasSuffix(v.Path, ".seconds"):
			if !(v.Value > 0 && v.Value < 60) {
				return fmt.Errorf("%s is %g", v.Path, v.Value)
			}
		default:
			s.lines = append(s.lines, fmt.Sprintf("%d %s %g", account, v.Path, v.Value))
		}
	}
	slices.Sort(s.lines)
	return nil
}

// once runs the job of one device whose sensors are all due, but for the last one.
func once(ctx context.Context, t *testing.T, b *Bot, entity int64, details string, sensors ...string) ([]string, error) {
	t.Helper()
	device := &collector.JobConfig{AccountID: 7, EntityID: entity, Name: "shop", Details: []byte(details)}
	for _, s := range sensors {
		device.Sensors = append(device.Sensors, collector.SensorConfig{Interval: time.Minute, Details: []byte(s)})
	}
	device.Sensors = append(device.Sensors, collector.SensorConfig{Interval: time.Hour, Details: []byte(`"not due"`)})
	to := &sink{}
	var err error
	for job, failed := range b.Jobs(ctx, bot.Fixed{device}, to) {
		if failed != nil {
			t.Fatal(failed)
		}
		err = job.Run(ctx, collector.Run{Affecting: []time.Duration{time.Minute}})
	}
	return to.lines, err
}

// shell is a command that runs a script.
func shell(name, script string) Command {
	return Command{Name: name, Words: []string{"/bin/sh", "-c", script}, Timeout: time.Minute}
}

func TestCommands(t *testing.T) {
	t.Setenv("WEIR_SECRET", "sesame")
	for _, c := range []struct {
		name, script, err string
		want              []string
	}{
		{"fine", `echo "OK - load 0.5|load1=0.5;5;10;0; 'users now'=3"`, "", []string{"perf.load1 0.5", "perf.users-now 3", "status 0"}},
		{"warning", `echo WARNING; exit 1`, "", []string{"status 1"}},
		{"critical", `exit 2`, "", []string{"status 2"}},
		{"unknown", `exit 3`, "", []string{"status 3"}},
		{"another code", `echo "cannot connect"; exit 42`, `sensor 1 of shop: command "c": it ended with exit status 42, where 0 to 3 would be right; it printed "cannot connect"`, []string{"status 3"}},
		{"only errors", `echo "no such host" >&2; exit 255`, `it printed "no such host"`, []string{"status 3"}},
		{"signal", `kill -SEGV $$`, `it ended with signal: segmentation fault`, []string{"status 3"}},
		{"lines", "echo 'DISK OK | /=2643MB;5948;5958;0;5968\nmany words\nmore | /boot=68KB;88;93;0;98\n/home=69357B'", "", []string{"perf.- 2.771386368e+09", "perf.-boot 69632", "perf.-home 69357", "status 0"}},
		{"environment", `[ "$WEIR_SECRET$HOME" = "" ] && [ "$(pwd)" = / ] && [ "$LC_ALL" = C ]`, "", []string{"status 0"}},
		{"input", `read x && exit 1; exit 0`, "", []string{"status 0"}},
		{"not text", `printf 'OK|\377\376=1 \000=2 =3 a=\n x=nan y=1e999 z=U'`, "", []string{"perf.-- 1", "perf.- 2", "status 0"}},
	} {
		b := New([]Command{shell("c", c.script)})
		got, err := once(t.Context(), t, b, 0, "{}", `{"command":"c","output_path":""}`)
		if err != nil && (c.err == "" || !strings.Contains(err.Error(), c.err)) || err == nil && c.err != "" {
			t.Errorf("%s: %v", c.name, err)
		}
		var want []string
		for _, line := range c.want {
			want = append(want, "7 target.shop.exec."+line)
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

// Much output costs little memory, and what lies in the part that is kept counts.
func TestMuchOutput(t *testing.T) {
	b := New([]Command{
		shell("long", `printf 'OK|a=1 b=2 '; head -c 100000 /dev/zero | tr '\0' 'x'; echo =5`),
		shell("endless", `printf 'OK|a=1 '; exec cat /dev/zero`),
	})
	got, err := once(t.Context(), t, b, 5, "{}", `{"command":"long"}`)
	if diff := cmp.Diff([]string{"7 entity.5.exec.long.perf.a 1", "7 entity.5.exec.long.perf.b 2", "7 entity.5.exec.long.status 0"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	got, err = once(t.Context(), t, b, 5, "{}", `{"command":"endless"}`)
	if diff := cmp.Diff([]string{"7 entity.5.exec.endless.perf.a 1", "7 entity.5.exec.endless.status 3"}, got); diff != "" || err == nil || !strings.Contains(err.Error(), "it prints more than 1048576 bytes") {
		t.Error(diff, err)
	}
}

// alive reports whether the process whose number is in a file still runs.
func alive(t *testing.T, file string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil // there is no /proc everywhere
	}
	return !strings.Contains(string(stat), ") Z ") // nobody may have waited for it
}

func dead(t *testing.T, file string) {
	t.Helper()
	for range 1000 {
		if !alive(t, file) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("the process of %s lives", filepath.Base(file))
}

// What a command has started ends with it.
func TestTimeout(t *testing.T) {
	dir := t.TempDir()
	slow := shell("slow", `trap "" TERM; sleep 600 & echo $! > `+dir+`/child; echo "half|a=1"; wait`)
	slow.Timeout = 300 * time.Millisecond
	left := shell("left", `sleep 600 & echo $! > `+dir+`/left; echo "OK|a=1"`)
	b := New([]Command{slow, left})
	got, err := once(t.Context(), t, b, 0, "{}", `{"command":"slow"}`)
	if diff := cmp.Diff([]string{"7 target.shop.exec.slow.perf.a 1", "7 target.shop.exec.slow.status 3"}, got); diff != "" || err == nil || !strings.Contains(err.Error(), "it was killed because it took longer than") {
		t.Error(diff, err)
	}
	dead(t, dir+"/child")
	got, err = once(t.Context(), t, b, 0, "{}", `{"command":"left"}`)
	if diff := cmp.Diff([]string{"7 target.shop.exec.left.perf.a 1", "7 target.shop.exec.left.status 0"}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	dead(t, dir+"/left")
}

// When Weir stops, commands are killed, and nothing is said about what they check.
func TestStop(t *testing.T) {
	dir := t.TempDir()
	b := New([]Command{shell("slow", `echo $$ > `+dir+`/new && mv `+dir+`/new `+dir+`/pid; exec sleep 600`)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for {
			if _, err := os.Stat(dir + "/pid"); err == nil || ctx.Err() != nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if got, err := once(ctx, t, b, 0, "{}", `{"command":"slow"}`); len(got) > 0 || err != nil {
		t.Error(got, err)
	}
	dead(t, dir+"/pid")
}

// The inventory chooses among commands and fills in an address, and can do nothing else.
func TestInventory(t *testing.T) {
	b := New([]Command{
		{Name: "say", Words: []string{"/bin/sh", "-c", `[ "$1" = "-H192.0.2.1" ] || exit 1; echo "OK|n=$#"`, "sh", "-H{ipv4}"}, Timeout: time.Minute},
		{Name: "plain", Words: []string{"/bin/true"}, Timeout: time.Minute},
	})
	got, err := once(t.Context(), t, b, 311, `{"ipv4":"192.0.2.1"}`, `{"command":"say"}`, `{"command":"plain","output_path":"deep.er"}`)
	want := []string{"7 entity.311.exec.deep.er.status 0", "7 entity.311.exec.say.perf.n 1", "7 entity.311.exec.say.status 0"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for _, c := range []struct{ details, sensor, want string }{
		{`{}`, `{"command":"/bin/true"}`, `sensor 1 of shop: cannot run "/bin/true": the configuration of the bot has no such command; it has plain, say`},
		{`{}`, `{}`, `cannot run "": the configuration of the bot has no such command`},
		{`{}`, `{"command":["/bin/true"]}`, `cannot use the details`},
		{`{}`, `{"command":"say"}`, `cannot put "" in place of {ipv4}: it must be an address or a name, such as 192.0.2.1 or gate.example.org`},
		{`{"ipv4":"-oProxyCommand=x"}`, `{"command":"say"}`, `cannot put "-oProxyCommand=x" in place of {ipv4}`},
		{`{"ipv4":"a b"}`, `{"command":"say"}`, `cannot put "a b" in place of {ipv4}`},
		{`{"ipv4":"$(reboot)"}`, `{"command":"say"}`, `cannot put "$(reboot)" in place of {ipv4}`},
		{`{"ipv4":"fe80::1%-x"}`, `{"command":"say"}`, `cannot put "fe80::1%-x" in place of {ipv4}`},
		{`{"ipv4":"a\nb"}`, `{"command":"say"}`, `cannot put "a\nb" in place of {ipv4}`},
		{`{"ipv4":5}`, `{"command":"say"}`, `cannot use the details`},
	} {
		if got, err := once(t.Context(), t, b, 311, c.details, c.sensor); err == nil || !strings.Contains(err.Error(), c.want) || len(got) > 0 {
			t.Errorf("%s %s: %v %v", c.details, c.sensor, got, err)
		}
	}
}

func TestMissingProgram(t *testing.T) {
	b := New([]Command{{Name: "gone", Words: []string{"/nowhere/check", "--password=sesame"}, Timeout: time.Minute}})
	got, err := once(t.Context(), t, b, 0, "{}", `{"command":"gone","output_path":""}`)
	if len(got) != 1 || got[0] != "7 target.shop.exec.status 3" || !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "sesame") {
		t.Error(got, err)
	}
}

// No more commands than there is room for run at once, and those without room at the deadline are errors.
func TestRoom(t *testing.T) {
	b := New([]Command{shell("c", "exec sleep 600")})
	for range atOnce {
		b.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := once(ctx, t, b, 0, "{}", `{"command":"c"}`); len(got) > 0 || err == nil || !strings.Contains(err.Error(), `cannot run "c": 64 others run, and the next run is due`) {
		t.Error(got, err)
	}
	if len(b.slots) != atOnce {
		t.Errorf("%d places are taken", len(b.slots))
	}
}

func TestUnits(t *testing.T) {
	o := outcome{output: []byte("OK|a=5s b=5ms c=5us d=5µs e=5% f=5B g=5KB h=0.5MB i=1TB j=7c k=3Mb l=2KiB m=1.5 n=U o=4min 'it''s'=1 'a=b'=2 a=9;@1:2;~:5;0;10")}
	got := make(map[string]float64)
	for _, v := range o.values("", time.Time{})[2:] {
		got[strings.TrimPrefix(v.Path, "perf.")] = v.Value
	}
	want := map[string]float64{
		"a": 5, "b": 0.005, "c": 5e-6, "d": 5e-6, "e": 5, "f": 5, "g": 5120, "h": 524288, "i": 1 << 40, "j": 7, "k": 3, "l": 2048, "m": 1.5, "o": 4, "it--s": 1, "a-b": 2,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-12 })); diff != "" {
		t.Error(diff)
	}
}

func FuzzOutput(f *testing.F) {
	f.Add([]byte("OK - x|a=1ms;2;3 'b c'=4KB\nlong\ntext|d=5"))
	f.Add([]byte("|\n|"))
	f.Add([]byte("|\xff=1e308TB ''=1 '=2"))
	f.Fuzz(func(t *testing.T, output []byte) {
		seen := make(map[string]bool)
		for _, v := range (&outcome{output: output}).values("target.x.exec.", time.Time{}) {
			if err := collector.CheckPath(v.Path); err != nil || seen[v.Path] || math.IsNaN(v.Value) || math.IsInf(v.Value, 0) {
				t.Errorf("%q: %v %g", v.Path, err, v.Value)
			}
			seen[v.Path] = true
		}
	})
}
