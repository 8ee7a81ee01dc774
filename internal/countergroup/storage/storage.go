// Package storage is the stage that writes the windows and toppers of counter groups to a timeseries driver.
//
//	group:<title>   derivative  key         one metric per meter
//	topper:<title>  gauge       meter, key  value
//
// The title's spaces and colons become underscores: group:Internal_Hosts. A point is at the end of its window. Meters that add up (RATE_COUNTER, COUNTER)
// are stored per second, so that the total over a range is their exact volume or count, and the value of a slot their rate; others are stored as
// they are. The group's totals have the key SYS:GROUP_TOTALS.
//
// Of a group with ToppersOnly the windows of keys wait for the end of their topper bucket, and only those are stored whose key is
// on one of the lists then; its totals do not wait.
package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// batchPoints is what one Append carries at most.
const batchPoints = 4096

// Stage is a countergroup.Stage.
type Stage struct {
	countergroup.Nothing
	driver timeseries.Driver
	warn   *telemetry.Limited

	ledger        *telemetry.Ledger // "countergroup.storage", in points
	refused, lost *telemetry.Discard
	unwell        bool // the last Append failed: Setup comes before the next one
	groups        map[*countergroup.Group]*schemas
	points        []timeseries.Point
	tags          []string
	values        []float64

	unlisted, full *telemetry.Discard
	waiting        atomic.Int64 // points held until a topper bucket ends, and those of points that were
	released       int          // of points
	room           int          // of what may be held, see maxHeld
	closing        []*schemas   // whose topper bucket ended in this flush
}

// schemas are those of one group.
type schemas struct {
	window, topper *timeseries.Schema
	scale          []float64 // by meter: what a value is multiplied by to be stored
	meters         []string
	held           *held // of a group with ToppersOnly, else nil
}

// New returns a Stage that writes to driver and accounts for its points in the ledger "countergroup.storage" of reg.
func New(driver timeseries.Driver, reg *telemetry.Registry, log *slog.Logger) *Stage {
	ledger := reg.Ledger("countergroup.storage", "points")
	s := &Stage{driver: driver, warn: telemetry.NewLimited(log, time.Minute, 5), ledger: ledger, refused: ledger.Reason("refused"), lost: ledger.Reason("append"),
		groups: make(map[*countergroup.Group]*schemas), unlisted: ledger.Reason("no_topper"), full: ledger.Reason("hold_full"), room: maxHeld}
	ledger.Hold(s.waiting.Load)
	return s
}

// SchemaName is the name of the schema of a group's windows.
func SchemaName(title string) string { return "group:" + plain(title) }

// ToppersName is the name of the schema of a group's toppers.
func ToppersName(title string) string { return "topper:" + plain(title) }

var plain = strings.NewReplacer(" ", "_", ":", "_", "\n", "_", "\x00", "_").Replace

// tagValue is a key as a tag, which can hold neither newline nor NUL.
var tagValue = strings.NewReplacer("\n", `\n`, "\x00", `\0`).Replace

// of returns the schemas of a group whose bucket has so many seconds.
func (s *Stage) of(g *countergroup.Group, seconds int64) *schemas {
	found := s.groups[g]
	if found == nil {
		found = &schemas{scale: make([]float64, len(g.Meters))}
		used := map[string]bool{"key": true}
		for i, m := range g.Meters {
			name := m.Name
			if name == "" || used[name] || len(name) > timeseries.MaxNameLength {
				name = fmt.Sprintf("meter %d", i)
			}
			used[name] = true
			found.meters = append(found.meters, name)
			found.scale[i] = 1
			if m.Type == countergroup.Counter {
				found.scale[i] = 1 / float64(seconds)
			}
		}
		if g.ToppersOnly {
			found.held = &held{listed: make(map[string]struct{})}
		}
		s.groups[g] = found
	}
	return found
}

// Window implements countergroup.Stage.
func (s *Stage) Window(w *countergroup.Window) {
	rows := w.Stored()
	if len(rows) == 0 {
		return
	}
	of := s.of(w.Group, w.Seconds)
	if of.window == nil || of.window.Step != w.Seconds {
		of.window = &timeseries.Schema{Name: SchemaName(w.Group.Title), Step: w.Seconds, Tags: []string{"key"}, Metrics: of.meters, Type: timeseries.Derivative}
	}
	for i := range rows {
		row := &rows[i]
		if of.held != nil && row.Key != countergroup.TotalsKey {
			s.hold(of, w.End, row)
			continue
		}
		values := s.add(of.window, w.End, len(of.meters), row.Key)
		for m, v := range row.Values {
			values[m] = v * of.scale[m]
		}
	}
}

// Toppers implements countergroup.Stage.
func (s *Stage) Toppers(l *countergroup.Toppers) {
	items := l.Stored()
	if of := s.groups[l.Group]; of != nil && of.held != nil {
		s.list(of, items)
	}
	if len(items) == 0 {
		return
	}
	of := s.of(l.Group, l.Seconds)
	if of.topper == nil || of.topper.Step != l.Seconds {
		of.topper = &timeseries.Schema{Name: ToppersName(l.Group.Title), Step: l.Seconds, Tags: []string{"meter", "key"}, Metrics: []string{"value"}, Type: timeseries.Gauge}
	}
	for _, item := range items {
		s.add(of.topper, l.End, 1, of.meters[l.Meter], item.Key)[0] = item.Value
	}
}

// add appends a point with so many values, which the caller fills in.
func (s *Stage) add(schema *timeseries.Schema, at int64, values int, tags ...string) []float64 {
	if len(s.points) >= batchPoints {
		s.append()
	}
	t, v := len(s.tags), len(s.values)
	for _, tag := range tags {
		s.tags = append(s.tags, tagValue(tag))
	}
	for range values {
		s.values = append(s.values, 0)
	}
	s.points = append(s.points, timeseries.Point{Schema: schema, Time: at, Tags: s.tags[t:], Values: s.values[v:]})
	return s.values[v:]
}

// EndFlush implements countergroup.Stage: what is left is stored, and what was held of topper buckets that have ended.
func (s *Stage) EndFlush(int64) {
	for _, of := range s.closing {
		s.release(of)
	}
	s.closing = s.closing[:0]
	if len(s.points) > 0 {
		s.append()
	}
}

// append stores the points gathered. Points that were refused one by one are counted; on another error all of
// them are lost, and counted as that.
func (s *Stage) append() {
	n := len(s.points)
	s.ledger.Received(n - s.released) // the others were received when they were held
	ctx := context.Background()
	err := error(nil)
	if s.unwell {
		err = s.driver.Setup(ctx)
	}
	if err == nil {
		err = s.driver.Append(ctx, s.points)
	}
	var some *timeseries.AppendError
	switch {
	case err == nil:
		s.unwell = false
		s.ledger.Passed(n)
	case errors.As(err, &some):
		s.refused.Add(some.Refused)
		s.ledger.Passed(n - some.Refused)
		s.warn.Warn("the store refused points of counter groups", "points", some.Refused, "error", err)
	default:
		s.unwell = true
		s.lost.Add(n)
		s.warn.Warn("cannot store counter groups", "points", n, "error", err)
	}
	s.waiting.Add(int64(-s.released))
	s.points, s.tags, s.values, s.released = s.points[:0], s.tags[:0], s.values[:0], 0
}
