package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// Front is the functions that scripts know as ts_utils (section 3.1), on the drivers of
// the configuration. Requests and answers are plain data with a JSON form, because
// scripts run in other processes; Call takes and gives them as such. Weir knows no
// users: whoever may call at all is an administrator. The methods may be called from any goroutine.
type Front struct {
	definitions *Definitions
	drivers     *Drivers
	warn        *telemetry.Limited
	now         func() time.Time

	ledger  *telemetry.Ledger // of what Append gets
	reasons map[refusal]*telemetry.Discard
}

// New returns a Front that asks and writes drivers. Its ledger of points is
// "ts_utils"; registry takes one Front.
func New(definitions *Definitions, drivers *Drivers, registry *telemetry.Registry, log *slog.Logger) *Front {
	f := &Front{
		definitions: definitions, drivers: drivers, warn: telemetry.NewLimited(log, time.Minute, 10), now: time.Now,
		ledger: registry.Ledger("ts_utils", "points"), reasons: make(map[refusal]*telemetry.Discard),
	}
	for _, r := range refusals {
		f.reasons[r] = f.ledger.Reason(string(r))
	}
	return f
}

// schema finds the schema of a question.
func (f *Front) schema(ctx context.Context, name string) (*Definition, error) {
	return f.find(name, func() ([]*timeseries.Schema, error) { return f.drivers.Schemas(ctx) })
}

// Query answers with points; with the largest items when "top:" stands before the
// name of the schema and a tag is missing (timeseries_query, timeseries_query_top, query). All tags of
// the schema must be there otherwise: a *MissingTagError says which one is not. Other errors are those of
// timeseries.Driver.
func (f *Front) Query(ctx context.Context, q Question) (*Answer, error) {
	name, top := q.top()
	d, err := f.schema(ctx, name)
	if err != nil {
		return nil, err
	}
	if d.Virtual() {
		return f.precomputed(ctx, d, q)
	}
	ask := q.query(d)
	lacking := missing(d.Schema, ask.Tags)
	switch {
	case len(lacking) > 0 && top:
		return f.top(ctx, d, ask, lacking)
	case len(lacking) > 0:
		err := &MissingTagError{lacking[0], d.Schema.Name}
		f.warn.Warn(err.Error())
		return nil, err
	}
	ask.KeepTotal = ask.KeepTotal || d.KeepTotal
	result, err := f.drivers.Query(ctx, ask)
	if err != nil {
		return nil, err
	}
	a := answer(result, name)
	if q.WithMax {
		ask.Consolidation, ask.NoStatistics = timeseries.ByMax, true
		largest, err := f.drivers.Query(ctx, ask)
		if err != nil {
			return nil, err
		}
		a.Additional["max"] = Points(largest.Total)
	}
	return a, nil
}

// Total answers with the volume per metric over the range (queryTotal, R15). A tag
// that is missing matches every value.
func (f *Front) Total(ctx context.Context, q Question) (map[string]Number, error) {
	d, err := f.schema(ctx, q.Schema)
	if err != nil {
		return nil, err
	}
	total, err := f.drivers.Total(ctx, q.query(d))
	if err != nil {
		return nil, err
	}
	return numbers(total), nil
}

// Mean is Total divided by the number of whole steps in the range (queryMean): not a
// number when there is none.
func (f *Front) Mean(ctx context.Context, q Question) (map[string]Number, error) {
	total, err := f.Total(ctx, q)
	if err != nil {
		return nil, err
	}
	d, err := f.schema(ctx, q.Schema)
	if err != nil {
		return nil, err
	}
	steps := math.Floor(float64(q.End-q.Start) / float64(d.Schema.Step))
	for metric, v := range total {
		total[metric] = Number(float64(v) / steps)
	}
	return total, nil
}

func numbers(of map[string]float64) map[string]Number {
	out := make(map[string]Number, len(of))
	for name, v := range of {
		out[name] = Number(v)
	}
	return out
}

// LastValues answers with the newest points of each metric, newest first, without those
// that are not known, at most Question.NumPoints of them (queryLastValues).
func (f *Front) LastValues(ctx context.Context, q Question) (map[string]Points, error) {
	q.Options.KeepNaN, q.Options.NoStatistics, q.Options.MinPoints, q.Options.InitialPoint, q.WithMax = true, true, 0, false, false
	q.Schema, _ = q.top()
	a, err := f.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	values := make(map[string]Points, len(a.Series))
	for _, line := range a.Series {
		newest := Points{}
		for _, v := range slices.Backward(line.Data) {
			if math.IsNaN(v) {
				continue
			}
			if newest = append(newest, v); len(newest) == q.NumPoints {
				break
			}
		}
		values[line.ID] = newest
	}
	return values, nil
}

// ListQuestion asks which series there are (listSeries, R17). Its JSON form has the
// names schema, tags, start_time and end_time, and is read as leniently as that of a Question.
type ListQuestion struct {
	Schema string
	Tags   timeseries.Tags // those that the schema does not have are left out
	Start  int64           // series need a point at or after it, Unix seconds
	End    int64           // and at or before it; 0 for no end
}

// listJSON is the JSON form of a ListQuestion.
type listJSON struct {
	Schema string    `json:"schema"`
	Tags   looseTags `json:"tags"`
	Start  loose     `json:"start_time"`
	End    loose     `json:"end_time"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (q *ListQuestion) UnmarshalJSON(text []byte) error {
	var in listJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return fmt.Errorf("cannot read a question: %w", err)
	}
	*q = ListQuestion{in.Schema, timeseries.Tags(in.Tags), in.Start.whole(), in.End.whole()}
	return nil
}

// maxListed bounds an answer of List, which is in memory at once.
const maxListed = 1 << 18

// List answers with the tags of every series that matches and has points in the
// range: timeseries.ErrNoSeries when there never was one that matches.
func (f *Front) List(ctx context.Context, q ListQuestion) ([]timeseries.Tags, error) {
	list := []timeseries.Tags{}
	err := f.each(ctx, q, func(tags timeseries.Tags) bool {
		list = append(list, tags)
		return len(list) <= maxListed
	})
	switch {
	case err != nil:
		return nil, err
	case len(list) > maxListed:
		return nil, fmt.Errorf("cannot list the series of %.300q: there are more than %d; name more tags", q.Schema, maxListed)
	}
	return list, nil
}

// Exists reports whether List would find anything (exists).
func (f *Front) Exists(ctx context.Context, q ListQuestion) (bool, error) {
	found := false
	err := f.each(ctx, q, func(timeseries.Tags) bool { found = true; return false })
	if errors.Is(err, timeseries.ErrNoSeries) {
		return false, nil
	}
	return found, err
}

// each calls with for the series of a list until it returns false.
func (f *Front) each(ctx context.Context, q ListQuestion, with func(timeseries.Tags) bool) error {
	d, err := f.schema(ctx, q.Schema)
	if err != nil {
		return err
	}
	list := timeseries.ListQuery{Schema: d.Schema, Tags: reduced(d.Schema, q.Tags), Start: q.Start, End: q.End}
	for tags, err := range f.drivers.List(ctx, list) {
		if err != nil {
			return err
		}
		if !with(tags) {
			return nil
		}
	}
	return nil
}

// Delete removes the series of every schema with that prefix whose tags match, in
// every driver (delete, R18). Without a prefix the tag ifid is needed.
func (f *Front) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	var err error
	switch _, whole := tags[IfID]; {
	case strings.Contains(prefix, ":"):
		err = recorded("Full schema labels not supported, use schema prefixes instead.")
	case prefix == "" && !whole:
		err = errors.New("cannot delete every series: name a schema prefix, or the tag ifid of the interface to delete")
	default:
		err = f.drivers.Delete(ctx, prefix, tags)
	}
	if err != nil {
		f.warn.Warn(err.Error(), "prefix", prefix)
	}
	return err
}

// recorded is an error whose text scripts have always got.
type recorded string

func (e recorded) Error() string { return string(e) }

// DeleteOld applies retention in every driver (deleteOldData), to all interfaces.
func (f *Front) DeleteOld(ctx context.Context) error {
	return f.drivers.DeleteOld(ctx, f.now().Unix())
}

// Setup makes drivers ready to be written to; it may be called again and again (setup).
func (f *Front) Setup(ctx context.Context) error { return f.drivers.Setup(ctx) }

// Export lets drivers push out what they hold back (export).
func (f *Front) Export(ctx context.Context) error { return f.drivers.Export(ctx) }

// Latest is the newest time worth asking for, in Unix seconds (getLatestTimestamp).
func (f *Front) Latest(ctx context.Context) (int64, error) { return f.drivers.LatestTimestamp(ctx) }

// Definitions are the schemas that are declared (newSchema, getSchema, getLoadedSchemas).
func (f *Front) Definitions() *Definitions { return f.definitions }

// Drivers are what is written to and asked (listActiveDrivers, getQueryDriver).
func (f *Front) Drivers() *Drivers { return f.drivers }
