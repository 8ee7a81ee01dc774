package statsd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/telemetry"
)

// dog renders what a packet means in DogStatsD, as parse does: "key d 3*2" is a value of a distribution, "key g =3 at 5"
// one with a timestamp, and a notice stands as it is.
func dog(packet string, change func(*Parser)) string {
	var out []string
	show := func(v *Value) {
		at := ""
		if v.Time != 0 {
			at = fmt.Sprintf(" at %d", v.Time)
		}
		switch v.Kind {
		case Counter:
			out = append(out, fmt.Sprintf("%s c %s%s", v.Key, FormatNumber(v.Number), at))
		case Timer:
			kind := "ms"
			if v.Sketch {
				kind = "d"
			}
			out = append(out, fmt.Sprintf("%s %s %s*%s%s", v.Key, kind, FormatNumber(v.Number), FormatNumber(v.Weight), at))
		case Gauge:
			sign := "="
			if v.Signed {
				sign = "d"
			}
			out = append(out, fmt.Sprintf("%s g %s%s%s", v.Key, sign, FormatNumber(v.Number), at))
		case Set:
			out = append(out, fmt.Sprintf("%s s {%s}", v.Key, v.Member))
		}
	}
	p := Parser{
		Sanitize: true, Dialect: DogStatsD, OnValue: show, OnTimed: show,
		OnBad: func(b Bad) { out = append(out, fmt.Sprintf("BAD %s", b.Fields)) },
		OnNotice: func(n Notice) {
			if n.Check {
				out = append(out, fmt.Sprintf("CHECK %q %d %q %d %q %q", n.Title, n.Status, n.Text, n.Time, n.Host, n.Tags))
			} else {
				out = append(out, fmt.Sprintf("EVENT %q %q %d %q %q %s %q %s %q", n.Title, n.Text, n.Time, n.Host, n.Key, n.Priority, n.Source, n.Type, n.Tags))
			}
		},
	}
	if change != nil {
		change(&p)
	}
	p.Packet([]byte(packet))
	return strings.Join(out, ", ")
}

// One subtest for each row of the table in specification section 1.7.
func TestDogStatsD(t *testing.T) {
	row := func(name string, check func(f func(in, want string))) {
		t.Run(name, func(t *testing.T) {
			check(func(in, want string) {
				t.Helper()
				if got := dog(in, nil); got != want {
					t.Errorf("%q\n got %s\nwant %s", in, got, want)
				}
			})
		})
	}
	row("histogram and distribution", func(f func(in, want string)) {
		f("n:5|h", "n ms 5*1")
		f("n:-5.5|h|@0.1", "n ms -5.5*10") // no unit: negative values are fine, and the rate scales the count only
		f("n:5|d|@0.5|#a:b", "n;a=b d 5*2")
		f("n:-5|ms", "BAD -5")
		f("n:x|h", "BAD x")
		f("n:1|m", "BAD m") // strict StatsD takes what it does not know for a counter
	})
	row("packed values", func(f func(in, want string)) {
		f("n:1:2:3|ms|@0.5|#a:b", "n;a=b ms 1*2, n;a=b ms 2*2, n;a=b ms 3*2")
		f("n:1:2|c|@0.1", "n c 10, n c 20")
		f("n:1:-2|g", "n g =1, n g =-2") // a gauge is what it says: DogStatsD has no changes
		f("n:1:x::2|d", "n d 1*1, BAD x, BAD , n d 2*1")
		f("n:a:b|s", "n s {a:b}") // not sets
		f("n:|s", "BAD ")
		f("n:1|c:2|c|@0.1:-3|h|#a:b", "n;a=b c 1, n;a=b c 20, n;a=b ms -3*1") // not packed: each has a type
		f("n:1|c|@0.1:2|d", "n c 10, n d 2*1")
		f("n:1|c:2:3|c", "n c 1, BAD 2, n c 3")
	})
	row("container id", func(f func(in, want string)) {
		f("n:1|c|#a:b|c:ci-83c0a99c0a54c0c187f461c7980e9b57f3f6a8b0c918c8d93df19a9de6f3fe1d", "n;a=b c 1")
		f("n:1|c|c:in-4026531835", "n c 1")
		kept := func(p *Parser) { p.ContainerTag = true }
		if got, want := dog("n:1|c|#a:b|c:in-4026531835", kept), "n;a=b;container_id=in-4026531835 c 1"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := dog("n:1|c|c:", kept), "n c 1"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	row("timestamp", func(f func(in, want string)) {
		f("n:3|c|T1656581400", "n c 3 at 1656581400")
		f("n:3:4|g|#a:b|T1656581400", "n;a=b g =3 at 1656581400, n;a=b g =4 at 1656581400")
		f("n:3|ms|T1656581400", "n ms 3*1") // counters and gauges only
		f("n:3|s|T1656581400", "n s {3}")
		f("n:3|c|T", "BAD 3,c,T")
		f("n:3|c|T-5", "BAD 3,c,T-5")
		f("n:3|c|T99999999999999999999", "BAD 3,c,T99999999999999999999")
		if got, want := dog("n:3|c|T1656581400", func(p *Parser) { p.OnTimed = nil }), "n c 3"; got != want {
			t.Errorf("without a backend for it: got %s, want %s", got, want)
		}
	})
	row("origin detection", func(f func(in, want string)) {
		f("n:1|c|e:it-false,cn-nginx,pu-75a2b6d5-3949-4afb-ad0d-92ff0674e759", "n c 1")
		f("n:1|c|#a:b|card:low|e:x|c:y", "n;a=b c 1")
		f("n:1|c|zz:a later version", "n c 1")
		f("n:1|c|0.5", "BAD 1,c,0.5") // no section of any version
		f("n:1|c|:", "BAD 1,c,:")
	})
	row("event", func(f func(in, want string)) {
		f(`_e{5,4}:title|text`, `EVENT "title" "text" 0 "" "" normal "" info ""`)
		f(`_e{7,14}:pi|pe é|line one\n|two|d:1656581400|h:web|k:key|p:low|s:src|t:error|#a:b,c|c:x|e:y|card:low`,
			`BAD _e{7,14}:pi,pe é,line one\n,two,d:1656581400,h:web,k:key,p:low,s:src,t:error,#a:b,c,c:x,e:y,card:low`) // é has two bytes
		f(`_e{8,14}:pi|pe é|line one\n|two|d:1656581400|h:web|k:key|p:low|s:src|t:error|#a:b,c|c:x|e:y|card:low`,
			`EVENT "pi|pe é" "line one\n|two" 1656581400 "web" "key" low "src" error "a:b,c"`)
		f(`_e{1,0}:t||p:odd|t:odd`, `EVENT "t" "" 0 "" "" normal "" info ""`)
		for _, bad := range []string{`_e{`, `_e{1}:t|x`, `_e{1,1}t|x`, `_e{1,9}:t|x`, `_e{0,1}:|x`, `_e{-1,1}:t|x`, `_e{1,1}:t|xy`, `_e{1,1}:t|x|d:soon`, `_e{99999999999,1}:t|x`, `_e{2147483647,2147483647}:t|x`} {
			f(bad, "BAD "+strings.ReplaceAll(bad, "|", ","))
		}
	})
	row("service check", func(f func(in, want string)) {
		f(`_sc|redis|2`, `CHECK "redis" 2 "" 0 "" ""`)
		f(`_sc|redis|1|d:1656581400|h:web|#a:b,c|c:x|m:it | m\: is\nslow|d:2`, `CHECK "redis" 1 "it | m: is\nslow|d:2" 1656581400 "web" "a:b,c"`)
		f(`_sc|redis|0|m:a|b|c:x|e:y|card:low`, `CHECK "redis" 0 "a|b" 0 "" ""`) // clients add where they come from at the end
		for _, bad := range []string{`_sc|`, `_sc|redis`, `_sc|redis|4`, `_sc|redis|`, `_sc||0`, `_sc|redis|0|d:x`} {
			f(bad, "BAD "+strings.ReplaceAll(bad, "|", ","))
		}
	})
	row("sections in any order", func(f func(in, want string)) {
		want := "n;a=b;x c 20 at 1656581400"
		sections := []string{"@0.1", "#a:b,x", "c:id", "T1656581400", "e:q"}
		for range sections {
			sections = append(sections[1:], sections[0])
			f("n:2|c|"+strings.Join(sections, "|"), want)
		}
		f("n:2|c|#a:b|@0.5|#x", "n;a=b;x c 4")
		f("n:2|c|@0", "BAD 2,c,@0")
		f("n:2|c|@-1", "BAD 2,c,@-1")
		f("n:2|c||#", "n c 2")
	})
	row("tags in other styles", func(f func(in, want string)) {
		f("n#a=b,c=d:1|c", "n;a=b;c=d c 1")     // Librato
		f("n,a=b,c=d:1|ms", "n;a=b;c=d ms 1*1") // InfluxDB
		f("n[a=b,c=d]:1|g", "n;a=b;c=d g =1")   // SignalFx
		f("my.[a=b]n:1|c", "my.n;a=b c 1")
		f("n;a=b:1|c|#c:d", "n;a=b;c=d c 1") // what all others become
		f("n#a=b:1|c:2|h", "n;a=b c 1, n;a=b ms 2*1")
		for _, mixed := range []string{"n#a=b:1|c|#c:d", "n,a=b:1|c|#c:d", "n[a=b]:1|c|#c:d", "n#a=b[c=d]:1|c", "n,a=b#c=d:1|c", "n[a=b],c=d:1|c", "n[a=b][c=d]:1|c", "n[a=b:1|c"} {
			f(mixed, "BAD 1,c"+map[bool]string{true: ",#c:d"}[strings.HasSuffix(mixed, "#c:d")])
		}
	})
	t.Run("UDS datagram socket", func(t *testing.T) {
		s, r, _ := dogServer(t, Listen{Network: "unixgram", Address: filepath.Join(t.TempDir(), "dog.sock"), Mode: 0o600})
		conn, err := net.Dial("unixgram", s.Addresses()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, packet := range []string{"a:1|c\na:2|c", "a:3|c", "b:1:2|d", "long:1|c|#t:" + strings.Repeat("x", 150_000)} {
			if _, err := conn.Write([]byte(packet)); err != nil {
				t.Fatal(err)
			}
		}
		// Stop takes in what the kernel has.
		got := stopAndRender(t, s, r)
		if want := "c long;t=" + strings.Repeat("x", 150_000) + "=1/0.1"; !strings.Contains(got, "c a=6/0.6") || !strings.Contains(got, "ms b=[1 2]*2") || !strings.Contains(got, want) {
			t.Errorf("%.300s", got)
		}
		if slices.ContainsFunc(r.from, func(from backend.Remote) bool { return from.Network != "unix" }) || len(r.packets) != 4 {
			t.Errorf("%d packets from %v", len(r.packets), r.from)
		}
	})
	t.Run("UDS stream", func(t *testing.T) {
		s, r, reg := dogServer(t, Listen{Network: "unix", Address: filepath.Join(t.TempDir(), "dog.sock"), Lengths: true})
		send := func(bytes []byte) {
			conn, err := net.Dial("unix", s.Addresses()[0].String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for len(bytes) > 0 { // in small pieces
				n := min(len(bytes), 70_001)
				if _, err := conn.Write(bytes[:n]); err != nil {
					return // the server closes a connection it cannot understand
				}
				bytes = bytes[n:]
			}
		}
		frame := func(packet string) []byte {
			return append(binary.LittleEndian.AppendUint32(nil, uint32(len(packet))), packet...)
		}
		send(slices.Concat(frame("é:1|c\na:2|c"), frame(""), frame("long:1|c|#t:"+strings.Repeat("x", 200_000)), frame("a:3|c"), frame("cut:1|c")[:7]))
		send([]byte("a:5|c\n")) // a client that sends lines: what its first four bytes say is no length
		ledger := reg.Ledger("statsd.packets", "packets")
		until(t, func() error {
			if a := ledger.Snapshot(); a.Received != 5 || a.Passed != 3 || !a.Balanced() {
				return fmt.Errorf("%+v", a)
			}
			return nil
		})
		if got := stopAndRender(t, s, r); !strings.Contains(got, "c a=5/0.5") || strings.Contains(got, "cut") || !strings.Contains(got, "c long;t=xxx") {
			t.Errorf("%.300s", got)
		}
	})
	t.Run("strict mode", func(t *testing.T) {
		f := func(in, want string) {
			t.Helper()
			if got := parse(in, true); got != want {
				t.Errorf("%q\n got %s\nwant %s", in, got, want)
			}
		}
		f("t:1|c|#x:y|c:abc123", "t;x=ycabc123 c 1")
		f("n:1:2|c", "BAD 1, n c 2")
		f("n:5|h", "n c 5")
		f("_e{5,4}:title|text", "BAD title,text")
		f("_sc|redis|2", "BAD 1")
	})
}

// until waits for a condition.
func until(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	err := check()
	for ; err != nil && time.Now().Before(deadline); err = check() {
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// dogServer starts a server of the dialect with one socket; it flushes when it stops.
func dogServer(t *testing.T, l Listen) (*Server, *recorder, *telemetry.Registry) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Dialect, cfg.Listen, cfg.Management, cfg.Readers = DogStatsD, []Listen{l}, "", 1
	r, reg := new(recorder), telemetry.NewRegistry()
	s := New(cfg, []backend.Backend{r}, reg, quiet)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(context.Background()) })
	return s, r, reg
}

func stopAndRender(t *testing.T, s *Server, r *recorder) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range r.flushes {
		all = append(all, render(f))
	}
	return strings.Join(all, "\n")
}

// A dead socket of datagrams is replaced, one that is used is not, and what is stopped leaves no file.
func TestUnixgramSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dog.sock")
	dead, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	l := Listen{Network: "unixgram", Address: path}
	s, _, _ := dogServer(t, l)
	second := New(Config{Listen: []Listen{l}, FlushInterval: time.Second, GaugeTTL: 1}, nil, telemetry.NewRegistry(), quiet)
	if err := second.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second server: %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("unixgram", path); err == nil {
		t.Error("the socket is still there")
	}
}

// Values of a distribution stay within the accuracy of a sketch, with the fields a timer has; those of several shards
// come together.
func TestDistribution(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Dialect = DogStatsD
	a, take := aggregate(cfg, 2)
	const n = 20_000
	for i := range n {
		v := i*7919%n + 1
		take(i&1, fmt.Sprintf("exact:%d|h\nsketch:%d|d", v, v))
	}
	take(0, "few:3:1:2|d\nodd:Infinity|d")
	for range 2 { // the second interval has what came in it
		f := a.flush(10)
		byName := make(map[string]backend.Timer)
		for _, timer := range f.Timers {
			byName[timer.Name] = timer
		}
		exact, approximate := byName["exact"], byName["sketch"]
		if len(exact.Fields) != len(approximate.Fields) || len(approximate.Values) != n || !slices.IsSorted(approximate.Values) {
			t.Fatalf("%d fields and %d values", len(approximate.Fields), len(approximate.Values))
		}
		for i, want := range exact.Fields {
			got := approximate.Fields[i]
			// Twice the accuracy for what is squared.
			if got.Name != want.Name || math.Abs(got.Value-want.Value) > 2.1*sketchAccuracy*math.Abs(want.Value) {
				t.Errorf("%s is %v, of all values it is %s %v", got.Name, got.Value, want.Name, want.Value)
			}
			if slices.Contains([]string{"upper", "lower", "count"}, want.Name) && got != want {
				t.Errorf("%s is %v, not %v", got.Name, got.Value, want.Value)
			}
		}
		if diff := cmp.Diff([]float64{1, 2, 3}, byName["few"].Values); diff != "" {
			t.Error(diff)
		}
		for i := range n {
			take(i&1, fmt.Sprintf("exact:%d|h\nsketch:%d|d", i+1, i+1))
		}
		take(1, "few:2|d:1|d:3|d")
	}
	if a := a.ledger.Snapshot(); !a.Balanced() {
		t.Errorf("%+v", a)
	}
}

// Values with timestamps are handed on at the next flush, those of one name and time together, and do not touch what
// is aggregated.
func TestTimestamps(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Dialect = DogStatsD
	a, take := aggregate(cfg, 2)
	for _, s := range a.shards {
		s.parser.OnTimed = s.onTimed
	}
	take(0, "c:2|c|T100|#a:b\nc:3|c|T100|#a:b\nc:3|c|T101|#a:b\ng:1|g|T100\ng:2|g|T100\ng:9|g")
	take(1, "c:4|c|T100|#a:b\nc:1|c|@0.5|T102")
	want := []backend.Timed{
		{Name: "c;a=b", Counter: true, Timestamp: 100, Value: 9}, {Name: "c;a=b", Counter: true, Timestamp: 101, Value: 3},
		{Name: "g", Timestamp: 100, Value: 2}, {Name: "c", Counter: true, Timestamp: 102, Value: 2},
	}
	f := a.flush(200)
	if diff := cmp.Diff(want, f.Timed); diff != "" {
		t.Error(diff)
	}
	if got := render(f); !strings.Contains(got, "g g=9") || strings.Contains(got, "c c") {
		t.Error(got)
	}
	if f := a.flush(210); len(f.Timed) != 0 {
		t.Errorf("again: %v", f.Timed)
	}
	var packet strings.Builder
	for i := range maxTimed + 5 {
		fmt.Fprintf(&packet, "c:1|c|T%d\n", i+1)
	}
	take(0, packet.String())
	account := a.ledger.Snapshot()
	if !account.Balanced() || account.Discarded["timed_full"] != 5 {
		t.Errorf("%+v", account)
	}
	if f := a.flush(220); len(f.Timed) != maxTimed {
		t.Errorf("%d", len(f.Timed))
	}
}

// Events and service checks wait for a sink that is slow, are counted when there are too many, none takes them or it
// refuses them, and all that were queued are handed on at the end.
func TestNotices(t *testing.T) {
	const packet = "_e{1,1}:t|x\n_sc|c|0\n_e{bad"
	account := func(reg *telemetry.Registry) telemetry.Account {
		return reg.Ledger("statsd.notices", "notices").Snapshot()
	}
	start := func(sink NoticeSink) (*Server, *telemetry.Registry, *strings.Builder) {
		cfg := DefaultConfig()
		cfg.Dialect, cfg.Listen, cfg.Readers = DogStatsD, nil, 1
		reg, log := telemetry.NewRegistry(), new(strings.Builder)
		s := New(cfg, nil, reg, slog.New(slog.NewTextHandler(log, nil)))
		if sink != nil {
			s.OnNotices(sink)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s, reg, log
	}
	from := make([]backend.Remote, 1)

	s, reg, log := start(nil)
	s.Take([][]byte{[]byte(packet)}, from)
	if a := account(reg); a.Received != 2 || a.Discarded["no_stream"] != 2 || !a.Balanced() {
		t.Errorf("%+v", a)
	}
	if a := reg.Ledger("statsd.values", "values").Snapshot(); a.Discarded["bad_line"] != 1 || !a.Balanced() {
		t.Errorf("%+v", a)
	}
	s.Stop(t.Context())
	if n := strings.Count(log.String(), "no stream of events"); n != 1 {
		t.Errorf("logged %d times", n)
	}

	var mu sync.Mutex
	var titles []string
	mu.Lock()
	s, reg, _ = start(func(_ context.Context, all []Notice) error {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range all {
			titles = append(titles, n.Title)
		}
		if slices.Contains(titles, "refuse") {
			titles = nil
			return errors.New("full")
		}
		return nil
	})
	for range noticeQueue {
		s.Take([][]byte{[]byte(packet)}, from)
	}
	if a := account(reg); a.Received != 2*noticeQueue || a.Discarded["queue_full"] < noticeQueue-noticeBatch-1 || !a.Balanced() {
		t.Errorf("%+v", a)
	}
	mu.Unlock()
	until(t, func() error {
		if a := account(reg); a.Buffered != 0 {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
	s.Take([][]byte{[]byte("_sc|refuse|0")}, from)
	until(t, func() error {
		if a := account(reg); a.Discarded["not_taken"] != 1 || !a.Balanced() {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
	for i := range 1000 {
		s.Take([][]byte{fmt.Appendf(nil, "_sc|%d|0", i)}, from)
	}
	s.Stop(t.Context())
	if len(titles) != 1000 || titles[999] != "999" {
		t.Errorf("%d after the end", len(titles))
	}
}

// Metrics are forgotten when nothing has come for the time of their kind, and come back as new ones.
func TestTTL(t *testing.T) {
	cfg := DefaultConfig()
	cfg.TTL = TTL{Counters: 20 * time.Second, Timers: 10 * time.Second, Gauges: 30 * time.Second, Sets: 10 * time.Second}
	a, take := aggregate(cfg, 1)
	names := func(now int64) string {
		f := a.flush(now)
		var all []string
		for _, c := range f.Counters {
			if !strings.HasPrefix(c.Name, "statsd.") {
				all = append(all, "c")
			}
		}
		for range f.Timers {
			all = append(all, "t")
		}
		for _, g := range f.Gauges {
			if !strings.HasPrefix(g.Name, "statsd.") {
				all = append(all, fmt.Sprintf("g%v", g.Value))
			}
		}
		for range f.Sets {
			all = append(all, "s")
		}
		return strings.Join(all, " ")
	}
	f := func(now int64, want string) {
		t.Helper()
		if got := names(now); got != want {
			t.Errorf("at %d: got %q, want %q", now, got, want)
		}
	}
	take(0, "c:1|c\nt:1|ms\ng:5|g\ns:1|s")
	f(1010, "c t g5 s")
	f(1020, "c t g5 s") // idle for as long as a timer lives: this is its last flush
	f(1030, "c g5")
	f(1040, "g5")
	f(1050, "")
	take(0, "g:+2|g\nc:1|c")
	f(1060, "c g2")
	take(0, "c:1|c")
	f(1070, "c g2")
	take(0, "c:1|c")
	f(1080, "c g2")
	f(1090, "c g2")
	f(1100, "c")
	if got, want := len(a.names.all(Gauge)), 1; got != want { // the lag stays
		t.Errorf("%d gauges are held", got)
	}
}

// Rules take tags away, and what was several metrics is one.
func TestTagRules(t *testing.T) {
	cfg := DefaultConfig()
	cfg.TagRules = []TagRule{{Names: []string{"api.*", "web"}, Drop: []string{"pod", "host"}}, {Names: []string{"*.by_region"}, Keep: []string{"region"}}}
	for _, dialect := range []Dialect{Strict, DogStatsD} {
		cfg.Dialect = dialect
		a, take := aggregate(cfg, 1)
		take(0, "api.hits:1|c|#pod:1,route:x,host:a", "api.hits:2|c|#pod:2,route:x", "api.hits;route=x:4|c", "web;pod=1:1|c", "webs;pod=1:1|c",
			"db.by_region:1|c|#shard:1,region:eu,solo", "other:1|c|#pod:1")
		got := render(a.flush(10))
		for _, want := range []string{"c api.hits;route=x=7/", "c web=1/", "c webs;pod=1=1/", "c db.by_region;region=eu=1/", "c other;pod=1=1/"} {
			if !strings.Contains(got, want) {
				t.Errorf("%v: no %q in\n%s", dialect, want, got)
			}
		}
	}
	f := func(pattern, name string, want bool) {
		t.Helper()
		if got := wild(pattern, []byte(name)); got != want {
			t.Errorf("%q fits %q: %v", pattern, name, got)
		}
	}
	f("", "", true)
	f("*", "", true)
	f("a*c*e", "abcde", true)
	f("a*c*e", "abcdef", false)
	f("*ab", "aab", true)
	f("a", "b", false)
	f("**a*", "xax", true)
}

// FuzzDogStatsD checks that nothing breaks the parser of the dialect, that every line comes to something, and that the
// fast path understands a packet as the full parser does.
func FuzzDogStatsD(f *testing.F) {
	for _, seed := range []string{
		"n:1:2:3|ms|@0.5|#a:b|c:x|T5\nn#a=b:1|c", "_e{1,1}:t|x|d:1|#a", "_sc|a|0|m:x", "n[a=b]:1|h:2|d|@0.1", "a:-3|g\nb:1|c|@0\nc:1|ms|@.5", "n,a=b:1|g|e:x|card:low", "name|a:b,c,,d:e:", "name|a:b,c=d,:",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		plain, full := dog(string(packet), nil), dog(string(packet), func(p *Parser) { p.OnLine = func([]byte) {} })
		if plain != full {
			t.Errorf("fast path\n%s\nfull parser\n%s", plain, full)
		}
		if name, tags, _ := strings.Cut(string(packet), "|"); plainName([]byte(name)) && plainTags([]byte(tags)) {
			p := Parser{Sanitize: true, key: []byte(name)}
			if len(tags) > 0 {
				p.appendTags([]byte(tags))
			}
			if got := appendPlain([]byte(name), []byte(tags)); string(got) != string(p.key) {
				t.Errorf("key %q, and %q the long way", got, p.key)
			}
		}
		lines, came := 0, 0
		count := func(*Value) { came++ }
		p := Parser{
			Sanitize: true, Dialect: DogStatsD, ContainerTag: true, Rules: NewTagRules([]TagRule{{Drop: []string{"a"}}}),
			OnBad: func(Bad) { came++ }, OnTimed: count, OnNotice: func(Notice) { came++ },
		}
		p.OnValue = func(v *Value) {
			came++
			for _, c := range v.Key {
				if !keep[c] {
					t.Fatalf("key %q holds %q", v.Key, c)
				}
			}
		}
		for _, line := range strings.Split(string(packet), "\n") {
			if line != "" && line != "\r" {
				lines++
			}
			p.Packet([]byte(line))
		}
		if came < lines {
			t.Errorf("%d lines gave %d results", lines, came)
		}
	})
}
