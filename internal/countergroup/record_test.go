package countergroup

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/telemetry"
)

// recorder is a stage that writes down every call, one a line. Rows are written as key=values.
type recorder struct {
	calls     []string
	seconds   bool // write down BeginSecond and EndSecond as well
	onWindow  func(*Window)
	onToppers func(*Toppers)
	onSecond  func(*Second)
}

func (r *recorder) line(format string, args ...any) {
	r.calls = append(r.calls, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (r *recorder) BeginSecond(t int64) {
	if r.seconds {
		r.line("begin second %d", t)
	}
}

func (r *recorder) EndSecond(t int64) {
	if r.seconds {
		r.line("end second %d", t)
	}
}

func (r *recorder) Second(s *Second) {
	var b strings.Builder
	for _, row := range s.Rows {
		isNew := ""
		if row.New {
			isNew = "!"
		}
		fmt.Fprintf(&b, " %s%s", isNew, row.Key)
		if row.Values != nil {
			fmt.Fprintf(&b, "=%v", row.Values)
		}
	}
	r.line("second %s %d%s", s.Group.Title, s.Time, b.String())
	if r.onSecond != nil {
		r.onSecond(s)
	}
}

func (r *recorder) BeginFlush(t int64) { r.line("flush %d", t) }
func (r *recorder) EndFlush(t int64)   { r.line("end %d", t) }

func (r *recorder) Window(w *Window) {
	var b strings.Builder
	for _, row := range w.Rows {
		fmt.Fprintf(&b, " %s=%v", row.Key, row.Values)
	}
	r.line("window %s %d-%d%s", w.Group.Title, w.Start, w.End, b.String())
	if r.onWindow != nil {
		r.onWindow(w)
	}
}

func (r *recorder) Toppers(l *Toppers) {
	var b strings.Builder
	for _, item := range l.Items {
		fmt.Fprintf(&b, " %s=%v", item.Key, item.Value)
	}
	r.line("toppers %s %d %d-%d%s", l.Group.Title, l.Meter, l.Start, l.End, b.String())
	if r.onToppers != nil {
		r.onToppers(l)
	}
}

// bench is an engine with one group or more and a recorder behind it.
type bench struct {
	t testing.TB
	*Engine
	recorder
	groups *Registry
	reg    *telemetry.Registry
	log    bytes.Buffer
	batch  *Batch
}

func newBench(t testing.TB, cfg Config, definitions ...Definition) *bench {
	t.Helper()
	b := &bench{t: t, groups: NewRegistry(), reg: telemetry.NewRegistry()}
	for i, d := range definitions {
		if d.GUID == "" {
			d.GUID = fmt.Sprintf("{00000000-0000-0000-0000-%012X}", i+1)
		}
		if d.Title == "" {
			d.Title = string(rune('G' + i))
		}
		if _, err := b.groups.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	b.Engine = New(cfg, b.groups, b.reg, slog.New(slog.NewTextHandler(&b.log, nil)))
	b.SetStages(&b.recorder)
	b.batch = b.Batch()
	return b
}

// group returns the group of a title.
func (b *bench) group(title string) *Group { return b.groups.ByTitle(title) }

// add counts one update of the first group.
func (b *bench) add(key string, meter int, values ...float64) {
	for _, v := range values {
		b.batch.Add(b.groups.Groups()[0], []byte(key), meter, v)
	}
	b.batch.Send()
}

// expect compares the calls since the last expect.
func (b *bench) expect(want ...string) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.calls); diff != "" {
		b.t.Errorf("calls (-want +got):\n%s", diff)
	}
	b.calls = nil
}

// only drops the calls that do not begin with prefix.
func (b *bench) only(prefix string) {
	b.calls = slices.DeleteFunc(b.calls, func(s string) bool { return !strings.HasPrefix(s, prefix) })
	if len(b.calls) == 0 {
		b.calls = nil
	}
}

func (b *bench) balanced() telemetry.Account {
	b.t.Helper()
	for _, a := range b.reg.Accounts() {
		if a.Component == "countergroup.updates" {
			if !a.Balanced() {
				b.t.Errorf("the ledger does not balance: %+v", a)
			}
			return a
		}
	}
	b.t.Fatal("no ledger")
	return telemetry.Account{}
}

func meters(types ...MeterType) (all []Meter) {
	for i, t := range types {
		all = append(all, Meter{ID: i, Type: t, Name: t.String()})
	}
	return all
}

func top(n int, meters []Meter) []Meter {
	for i := range meters {
		meters[i].Top = n
	}
	return meters
}
