package plaintext

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// recorder is a driver that remembers points as text.
type recorder struct {
	memory.Driver
	mu   sync.Mutex
	rows []string
	fail int // so many appends fail first
}

func (r *recorder) Append(ctx context.Context, points []timeseries.Point) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail--; r.fail >= 0 {
		return errors.New("disk full")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var refused timeseries.AppendError
	for _, p := range points {
		if err := p.Validate(); err != nil {
			refused.Refused++
			refused.First = err
			continue
		}
		r.rows = append(r.rows, fmt.Sprintf("%s %q %v %d", p.Schema.Name, p.Tags, p.Values, p.Time))
	}
	if refused.Refused > 0 {
		return &refused
	}
	return nil
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.rows, "\n")
}

func unknown(string) *timeseries.Schema { return nil }

func newTestListener(driver timeseries.Driver, addresses ...Listen) (*Listener, *telemetry.Registry) {
	reg := telemetry.NewRegistry()
	return New(addresses, driver, unknown, reg, slog.New(slog.DiscardHandler)), reg
}

func account(t testing.TB, reg *telemetry.Registry) telemetry.Account {
	t.Helper()
	for _, a := range reg.Accounts() {
		if !a.Balanced() {
			t.Errorf("the ledger does not balance: %+v", a)
		}
	}
	return reg.Ledger("writes.graphite", "points").Snapshot()
}

func TestLines(t *testing.T) {
	const now = 1_700_000_000
	for _, c := range []struct {
		line, row string
		reason    string // why there is none
	}{
		{line: "a.b.c 1 1700000001", row: `graphite:metric ["a.b.c" ""] [1] 1700000001`},
		{line: "a.b.c\t-1.5e3  1700000001.9\r", row: `graphite:metric ["a.b.c" ""] [-1500] 1700000001`},
		{line: "  a 1 -1", row: `graphite:metric ["a" ""] [1] 1700000000`},
		{line: "a 1 N", row: `graphite:metric ["a" ""] [1] 1700000000`},
		{line: "disk.used;rack=a1;host=web01 7 1700000001", row: `graphite:metric ["disk.used" "host=web01;rack=a1"] [7] 1700000001`},
		{line: "m;a=1;a=2 7 1700000001", row: `graphite:metric ["m" "a=2"] [7] 1700000001`},
		{line: `m;a=x=y\z 7 1700000001`, row: `graphite:metric ["m" "a=x\\=y\\\\z"] [7] 1700000001`},
		{line: "größe.東京;ville=Zürich 1 1700000001", row: `graphite:metric ["größe.東京" "ville=Zürich"] [1] 1700000001`},
		{line: `a"b,c 1 1700000001`, row: `graphite:metric ["a\"b,c" ""] [1] 1700000001`},
		{line: ""}, {line: "   \r"},
		{line: "a", reason: "bad_line"}, {line: "a 1", reason: "bad_line"}, {line: "a 1 2 3", reason: "bad_line"}, {line: "a x 1", reason: "bad_line"},
		{line: "a 1 x", reason: "bad_line"}, {line: "a 1 99999999999999999999", reason: "bad_line"}, {line: "a 0x10 1", reason: "bad_line"}, {line: "a 1e999 1", reason: "bad_line"},
		{line: "a inf 1", reason: "bad_line"}, {line: "a -Infinity 1", reason: "bad_line"}, {line: "a NaN 1", reason: "nan"}, {line: "a nan 1", reason: "nan"},
		{line: ";a=b 1 1", reason: "bad_line"}, {line: "m;a 1 1", reason: "bad_line"}, {line: "m;=b 1 1", reason: "bad_line"}, {line: "m;a= 1 1", reason: "bad_line"}, {line: "m; 1 1", reason: "bad_line"},
		{line: "a 1 -5", reason: "refused"}, {line: "a\x00b 1 1", reason: "refused"}, {line: strings.Repeat("a", 2000) + " 1 1", reason: "refused"},
		{line: strings.Repeat("a", maxLine) + " 1 1", reason: "bad_line"},
	} {
		r := new(recorder)
		l, reg := newTestListener(r)
		s := &session{listener: l}
		s.lines([]byte(c.line), true, now)
		_, _ = l.intake.Append(context.Background(), &s.batch)
		if r.text() != c.row {
			t.Errorf("%.80q is %s, want %s", c.line, r.text(), c.row)
		}
		a := account(t, reg)
		if lost := a.Lost(); c.reason == "" && lost > 0 || c.reason != "" && (lost != 1 || a.Discarded[c.reason] != 1) {
			t.Errorf("%.80q: discarded %v, want %q", c.line, a.Discarded, c.reason)
		}
	}
}

// pieces is a connection that brings data in pieces.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(to []byte) (n int, err error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n = copy(to, p.data[:min(p.size, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

func TestPieces(t *testing.T) {
	var data, want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&data, "metric.%d %d %d\n", i%10, i, 1_700_000_000+i)
		fmt.Fprintf(&want, "graphite:metric [\"metric.%d\" \"\"] [%d] %d\n", i%10, i, 1_700_000_000+i)
		if i == 1000 {
			data.WriteString(strings.Repeat("x", 200_000) + " 1 1\n")
		}
	}
	data.WriteString("metric.0 5 17000000")
	for _, size := range []int{1, 7, 1000, 1 << 20} {
		r := new(recorder)
		l, reg := newTestListener(r)
		l.read(&pieces{[]byte(data.String()), size})
		if got := r.text() + "\n"; got != want.String() {
			t.Errorf("in pieces of %d: %d bytes of rows, want %d", size, len(got), want.Len())
		}
		if a := account(t, reg); a.Discarded["bad_line"] != 1 || a.Discarded["unfinished_line"] != 1 || a.Passed != 2000 {
			t.Errorf("in pieces of %d: %+v", size, a)
		}
	}
}

// While nothing can be stored, a connection waits.
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{fail: 3}
		l, reg := newTestListener(r)
		begin := time.Now()
		l.read(&pieces{[]byte("a 1 1\n"), 100})
		if want := `graphite:metric ["a" ""] [1] 1`; r.text() != want || time.Since(begin) != 7*250*time.Millisecond {
			t.Errorf("%s after %v", r.text(), time.Since(begin))
		}
		account(t, reg)

		// At the end what waits is given up, and counted.
		r = &recorder{fail: math.MaxInt}
		l, reg = newTestListener(r)
		done := make(chan struct{})
		go func() {
			l.read(&pieces{[]byte("a 1 1\nb 1 1\n"), 100})
			close(done)
		}()
		synctest.Wait()
		if a := reg.Ledger("writes.graphite", "points").Snapshot(); a.Buffered != 2 || !a.Balanced() {
			t.Errorf("%+v", a)
		}
		l.abandon()
		<-done
		if a := account(t, reg); a.Discarded["failed"] != 2 {
			t.Errorf("%+v", a)
		}
	})
}

func TestSockets(t *testing.T) {
	r := new(recorder)
	l, reg := newTestListener(r, Listen{"tcp", "127.0.0.1:0"}, Listen{"udp", "127.0.0.1:0"})
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, network := range []string{"tcp", "udp"} {
		conn, err := net.Dial(network, l.Addresses()[i].String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s 1 1\n%s 2 2\n", network, network)
		if network == "udp" {
			for !strings.Contains(r.text(), `"udp" ""] [2]`) { // the last one is there; a datagram in the socket is not taken in at the end
				time.Sleep(time.Millisecond)
			}
		}
		conn.Close()
	}
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"tcp" ""] [1] 1`, `"tcp" ""] [2] 2`, `"udp" ""] [1] 1`} {
		if !strings.Contains(r.text(), want) {
			t.Errorf("%s lacks %s", r.text(), want)
		}
	}
	if l.LastInput().IsZero() {
		t.Error("nothing came")
	}
	if a := account(t, reg); a.Passed != 4 {
		t.Errorf("%+v", a)
	}
}

func TestListenError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l, _ := newTestListener(new(recorder), Listen{"udp", "127.0.0.1:0"}, Listen{"tcp", taken.Addr().String()})
	var unbound *ListenError
	if err := l.Start(t.Context()); !errors.As(err, &unbound) || unbound.Index != 1 {
		t.Errorf("%v", err)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a.b;c=d 1.5 1700000000\nx\n"), 3)
	f.Add([]byte("a nan -1\r\n\n b inf N"), 1)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		data = bytes.ReplaceAll(data, []byte{'N'}, []byte{'n'}) // now is not the same twice
		data = bytes.ReplaceAll(data, []byte("-1"), []byte("1"))
		whole, parts := new(recorder), new(recorder)
		for _, one := range []struct {
			r    *recorder
			size int
		}{{whole, 1 << 20}, {parts, max(size, 1)}} {
			l, reg := newTestListener(one.r)
			l.read(&pieces{data, one.size})
			account(t, reg)
		}
		if whole.text() != parts.text() {
			t.Errorf("in pieces of %d: %s, at once: %s", size, parts.text(), whole.text())
		}
	})
}
