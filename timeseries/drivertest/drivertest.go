// Package drivertest holds the tests that every timeseries driver must pass: the
// rules of the contract (specification section 2.5) that speak of more than one series.
package drivertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weirhq/weir/timeseries"
)

// Driver is what is tested.
type Driver interface {
	timeseries.Driver
	timeseries.Catalog
}

// Run tests drivers that open returns, empty and ready, one for each rule. Times
// of all points lie within the day after Start. Rules named in except are left out:
// a remote store may not know how to keep them, and the caller says why.
func Run(t *testing.T, open func(t *testing.T) Driver, except ...string) {
	for _, rule := range []struct {
		name string
		run  func(*fixture)
	}{
		{"points of one series", (*fixture).oneSeries},
		{"late and duplicate points", (*fixture).latePoints},
		{"refused points", (*fixture).refusedPoints},
		{"groups", (*fixture).groups},
		{"packed tag", (*fixture).packedTag},
		{"tag values", (*fixture).tagValues},
		{"total", (*fixture).total},
		{"topk", (*fixture).topk},
		{"list", (*fixture).list},
		{"delete", (*fixture).delete},
		{"unknown", (*fixture).unknown},
		{"catalog", (*fixture).catalog},
	} {
		if slices.Contains(except, rule.name) {
			continue
		}
		t.Run(rule.name, func(t *testing.T) {
			rule.run(&fixture{T: t, ctx: t.Context(), Driver: open(t)})
		})
	}
	if reader, ok := open(t).(timeseries.Reader); ok && !slices.Contains(except, "samples") {
		t.Run("samples", func(t *testing.T) {
			f := &fixture{T: t, ctx: t.Context(), Driver: reader.(Driver)}
			f.samples(reader)
		})
	}
}

// Start is the time of the first points, in Unix seconds: the beginning of a day.
const Start = 1795305600

var (
	traffic = &timeseries.Schema{Name: "host:traffic", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"sent", "rcvd"}}
	load    = &timeseries.Schema{Name: "host:load", Step: 60, Type: timeseries.Gauge, Tags: []string{"ifid", "host"}, Metrics: []string{"value"}}
	rate    = &timeseries.Schema{Name: "statsd:counter", Step: 10, Type: timeseries.Derivative, Tags: []string{"name", "tags"}, Metrics: []string{"rate"}, Packed: "tags"}
	iface   = &timeseries.Schema{Name: "iface:load", Step: 60, Type: timeseries.Gauge, Tags: []string{"ifid"}, Metrics: []string{"value"}}
	other   = &timeseries.Schema{Name: "host2:load", Step: 60, Type: timeseries.Gauge, Tags: []string{"ifid", "host"}, Metrics: []string{"value"}}
	nan     = math.NaN()
)

type fixture struct {
	*testing.T
	Driver
	ctx context.Context
}

// put appends one point, at that many seconds after Start.
func (f *fixture) put(s *timeseries.Schema, at int64, tags string, values ...float64) {
	f.Helper()
	p := timeseries.Point{Schema: s, Time: Start + at, Tags: strings.Split(tags, " "), Values: values}
	if err := f.Append(f.ctx, []timeseries.Point{p}); err != nil {
		f.Fatal(err)
	}
}

// ask makes a query from text "a=1 b=2" and "name name".
func ask(s *timeseries.Schema, filter, groupBy string, start, end int64) timeseries.Query {
	q := timeseries.Query{Schema: s, Tags: timeseries.Tags{}, GroupBy: strings.Fields(groupBy), Start: Start + start, End: Start + end, Options: timeseries.DefaultOptions()}
	for _, item := range strings.Fields(filter) {
		name, value, _ := strings.Cut(item, "=")
		q.Tags[name] = value
	}
	return q
}

// text is a map as sorted "a=1 b=2".
func text(tags timeseries.Tags) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, name+"="+tags[name])
	}
	return strings.Join(list, " ")
}

// want runs a query and compares the points by "label tags".
func (f *fixture) want(q timeseries.Query, want map[string][]float64) *timeseries.Result {
	f.Helper()
	r, err := f.Query(f.ctx, q)
	if err != nil {
		f.Errorf("%s: %v", text(q.Tags), err)
		return &timeseries.Result{}
	}
	got := make(map[string][]float64)
	for _, s := range r.Series {
		got[s.Label+" "+text(s.Tags)] = s.Data
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateNaNs(), cmpopts.EquateEmpty(), cmpopts.EquateApprox(1e-12, 0)); diff != "" {
		f.Errorf("%s by %v: %s", text(q.Tags), q.GroupBy, diff)
	}
	return r
}

func (f *fixture) oneSeries() {
	for i, v := range []float64{1000, 1600, 2200, 2800, 3400, 0, 600, 1200, 1800} {
		f.put(traffic, int64(i)*60, "1 a", v, nan)
	}
	q := ask(traffic, "ifid=1 host=a", "", 0, 480)
	r := f.want(q, map[string][]float64{
		"sent host=a ifid=1": {10, 10, 10, 10, 0, 10, 10, 10},
		"rcvd host=a ifid=1": {nan, nan, nan, nan, nan, nan, nan, nan},
	})
	if r.Start != Start || r.End != Start+480 || r.Step != 60 || r.RawStep != 60 || r.Count != 8 || r.Statistics == nil || r.Statistics.Total != 4200 {
		f.Errorf("got %+v, statistics %+v", r, r.Statistics)
	}
	// The predecessor of the first point and the sampled step.
	q.Start, q.MaxPoints, q.Tags = Start+120, 2, timeseries.Tags{"host": "a", "ifid": "1"}
	q.End = Start + 360
	f.want(q, map[string][]float64{"sent host=a ifid=1": {10, 5}, "rcvd host=a ifid=1": {nan, nan}})
	// An empty range has no points.
	q = ask(traffic, "ifid=1 host=a", "", 120, 120)
	f.want(q, map[string][]float64{"sent host=a ifid=1": {}, "rcvd host=a ifid=1": {}})
	// A range without samples has unknown points.
	f.want(ask(traffic, "ifid=1 host=a", "", 3600, 3720), map[string][]float64{"sent host=a ifid=1": {nan, nan}, "rcvd host=a ifid=1": {nan, nan}})
}

// latePoints is R11.
func (f *fixture) latePoints() {
	for _, i := range []int64{5, 0, 3, 1, 4, 2} {
		f.put(traffic, 60*i, "1 a", float64(600*i), float64(60*i))
	}
	f.put(traffic, 120, "1 a", 900, 120)
	f.put(traffic, 120, "1 a", 1500, 120)
	f.put(traffic, 60, "1 a", 600, 60)
	f.want(ask(traffic, "", "", 0, 300), map[string][]float64{"sent ": {10, 15, 5, 10, 10}, "rcvd ": {1, 1, 1, 1, 1}})
	f.put(traffic, 7200, "1 a", 9000, 0)
	f.put(traffic, 180, "1 a", 2100, 180) // two hours late
	f.want(ask(traffic, "", "", 0, 300), map[string][]float64{"sent ": {10, 15, 10, 5, 10}, "rcvd ": {1, 1, 1, 1, 1}})
}

// refusedPoints: bad points do not take good ones with them.
func (f *fixture) refusedPoints() {
	good := timeseries.Point{Schema: load, Time: Start + 60, Tags: []string{"1", "a"}, Values: []float64{1}}
	infinite, newline, short := good, good, good
	infinite.Values = []float64{math.Inf(1)}
	newline.Tags = []string{"1", "a\nb"}
	short.Tags = []string{"1"}
	if err := f.Append(f.ctx, []timeseries.Point{good}); err != nil {
		f.Fatal(err)
	}
	good.Time += 60
	err := f.Append(f.ctx, []timeseries.Point{infinite, newline, good, short})
	var refused *timeseries.AppendError
	if !errors.As(err, &refused) || refused.Refused != 3 || refused.First == nil {
		f.Errorf("got %#v", err)
	}
	f.want(ask(load, "host=a", "", 0, 120), map[string][]float64{"value host=a": {1, 1}})
}

// groups is what Query.GroupBy says, and R13.
func (f *fixture) groups() {
	for _, at := range []int64{60, 120} {
		f.put(load, at, "1 a", 1)
		f.put(load, at, "2 a", 20)
	}
	f.put(load, 60, "1 b", 300)
	f.want(ask(load, "ifid=1 host=a", "", 0, 120), map[string][]float64{"value host=a ifid=1": {1, 1}})
	f.want(ask(load, "", "", 0, 120), map[string][]float64{"value ": {321, 21}})
	f.want(ask(load, "ifid=1", "", 0, 120), map[string][]float64{"value ifid=1": {301, 1}})
	r := f.want(ask(load, "", "host", 0, 180), map[string][]float64{"value host=a": {21, 21, nan}, "value host=b": {300, nan, nan}})
	if diff := cmp.Diff([]float64{321, 21, nan}, r.Total, cmpopts.EquateNaNs()); diff != "" {
		f.Errorf("total: %s", diff)
	}
	f.want(ask(load, "ifid=1", "host ifid", 0, 60), map[string][]float64{"value host=a ifid=1": {1}, "value host=b ifid=1": {300}})
}

func (f *fixture) packedTag() {
	f.put(rate, 10, "hits dc=x;host=a", 1)
	f.put(rate, 10, "hits dc=x;host=b", 20)
	f.put(rate, 10, "hits dc=y", 300)
	f.put(rate, 10, "miss dc=x", 4000)
	f.want(ask(rate, "name=hits dc=x", "", 0, 10), map[string][]float64{"rate dc=x name=hits": {21}})
	f.want(ask(rate, "name=hits", "dc", 0, 10), map[string][]float64{"rate dc=x name=hits": {21}, "rate dc=y name=hits": {300}})
	f.want(ask(rate, "name=hits", "host", 0, 10), map[string][]float64{"rate host= name=hits": {300}, "rate host=a name=hits": {1}, "rate host=b name=hits": {20}})
	f.want(ask(rate, "", "name", 0, 10), map[string][]float64{"rate name=hits": {321}, "rate name=miss": {4000}})
	f.want(ask(rate, "tags=dc=y", "", 0, 10), map[string][]float64{"rate tags=dc=y": {300}})
	if _, err := f.Query(f.ctx, ask(rate, "name=hits rack=1", "", 0, 10)); !errors.Is(err, timeseries.ErrNoSeries) {
		f.Errorf("a key that no series has: got %v", err)
	}
	f.put(rate, 10, "odd "+string(timeseries.AppendPacked(timeseries.AppendPacked(nil, "k=;", "v"), "dc", `a;b=c\d_"é",`)), 5)
	q := ask(rate, "name=odd", "dc", 0, 10)
	q.Tags["k=;"] = "v"
	f.want(q, map[string][]float64{`rate dc=a;b=c\d_"é", k=;=v name=odd`: {5}})
	// A packed tag may be longer than others.
	var long []byte
	for i := range 10 {
		long = timeseries.AppendPacked(long, fmt.Sprint("label", i), strings.Repeat("x", 800))
	}
	f.put(rate, 10, "long "+string(long), 6)
	f.want(ask(rate, "name=long", "", 0, 10), map[string][]float64{"rate name=long": {6}})
}

// tagValues: text comes back as it was, and an empty value is not a missing one.
func (f *fixture) tagValues() {
	for i, value := range []string{"", " ", `O'Neil, "x"=1/\`, "a/../b", "\x01\xff", strings.Repeat("x", timeseries.MaxTagValue), "a", "aa"} {
		p := timeseries.Point{Schema: load, Time: Start + 60, Tags: []string{"1", value}, Values: []float64{float64(i)}}
		if err := f.Append(f.ctx, []timeseries.Point{p}); err != nil {
			f.Errorf("%.40q: %v", value, err)
			continue
		}
		q := ask(load, "", "", 0, 60)
		q.Tags = timeseries.Tags{"host": value}
		f.want(q, map[string][]float64{"value host=" + value: {float64(i)}})
		for tags, err := range f.List(f.ctx, timeseries.ListQuery{Schema: load, Tags: q.Tags}) {
			if err != nil || tags["host"] != value {
				f.Errorf("list %.40q: got %.40q, %v", value, tags["host"], err)
			}
		}
	}
}

// total is R15.
func (f *fixture) total() {
	for i, v := range []float64{1000, 1600, 2200, 0, 600} {
		f.put(traffic, int64(i)*60, "1 a", v, 2*v)
		f.put(traffic, int64(i)*60, "1 b", v, nan)
		f.put(load, int64(i)*60, "1 a", -v)
		f.put(rate, int64(i)*10, "hits ", v)
	}
	f.put(traffic, 36000, "1 a", 700, 1300)
	for _, c := range []struct {
		q    timeseries.Query
		want map[string]float64
	}{
		{ask(traffic, "host=a ifid=1", "", 0, 240), map[string]float64{"sent": 1800, "rcvd": 3600}},
		{ask(traffic, "host=a nothing=1", "", 0, 240), map[string]float64{"sent": 1800, "rcvd": 3600}},
		{ask(traffic, "host=a", "", 60, 120), map[string]float64{"sent": 600, "rcvd": 1200}},
		{ask(traffic, "", "", 60, 120), map[string]float64{"sent": 1200, "rcvd": 1200}},
		{ask(traffic, "host=a", "", 35999, 36000), map[string]float64{"sent": 100, "rcvd": 100}}, // after a gap of ten hours
		{ask(traffic, "host=a", "", -600, 60), map[string]float64{"sent": 600, "rcvd": 1200}},
		{ask(traffic, "host=a", "", 40000, 50000), map[string]float64{"sent": 0, "rcvd": 0}},
		{ask(load, "", "", 0, 240), map[string]float64{"value": -4400}},
		{ask(load, "", "", -1, 239), map[string]float64{"value": -4800}},
		{ask(rate, "", "", 0, 40), map[string]float64{"rate": 44000}},
	} {
		got, err := f.Total(f.ctx, c.q)
		if err != nil || !maps.Equal(got, c.want) {
			f.Errorf("%s %s in %d..%d: got %v, %v, want %v", c.q.Schema.Name, text(c.q.Tags), c.q.Start-Start, c.q.End-Start, got, err, c.want)
		}
	}
	if _, err := f.Total(f.ctx, ask(traffic, "host=x", "", 0, 240)); !errors.Is(err, timeseries.ErrNoSeries) {
		f.Errorf("no series: got %v", err)
	}
}

// topk is R16.
func (f *fixture) topk() {
	for i := range int64(11) {
		f.put(traffic, i*60, "1 DNS", float64(3000*i), float64(3000*i))
		f.put(traffic, i*60, "1 TLS", float64(30000*i), float64(30000*i))
		f.put(traffic, i*60, "2 TLS", float64(300*i), nan)
		f.put(traffic, i*60, "1 idle", 77, 77)
	}
	f.put(load, 60, "1 a", 2)
	f.put(load, 60, "1 b", -2)
	check := func(q timeseries.Query, want ...string) *timeseries.TopResult {
		f.Helper()
		r, err := f.TopK(f.ctx, q)
		if err != nil {
			f.Fatal(err)
		}
		var got []string
		for _, item := range r.Items {
			line := text(item.Tags) + fmt.Sprintf(" %v", item.Value)
			for _, metric := range slices.Sorted(maps.Keys(item.Partials)) {
				line += fmt.Sprintf(" %s:%v", metric, item.Partials[metric])
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			f.Errorf("%s by %v: %s", text(q.Tags), q.GroupBy, diff)
		}
		return r
	}
	r := check(ask(traffic, "ifid=1", "", 0, 600), "host=TLS ifid=1 600000 rcvd:300000 sent:300000", "host=DNS ifid=1 60000 rcvd:30000 sent:30000")
	if r.Count != 10 || r.Statistics.Total != 660000 || r.Total[9] != 1100 || len(r.Series) != 0 {
		f.Errorf("all series: got %+v, %+v", r, r.Statistics)
	}
	q := ask(traffic, "", "host", 0, 600)
	q.Top, q.WithSeries, q.MaxPoints = 1, true, 2
	r = check(q, "host=TLS 603000 rcvd:300000 sent:303000")
	if r.Statistics.Total != 663000 || len(r.Series) != 2 {
		f.Errorf("all series: got %+v, %+v", r, r.Statistics)
	}
	for _, s := range r.Series {
		want := map[string][]float64{"sent": {505, 505}, "rcvd": {500, 500}}[s.Label]
		if text(s.Tags) != "host=TLS" || !slices.Equal(s.Data, want) {
			f.Errorf("series: got %+v", s)
		}
	}
	check(ask(traffic, "host=TLS", "ifid host", 0, 60), "host=TLS ifid=1 60000 rcvd:30000 sent:30000", "host=TLS ifid=2 300 rcvd:0 sent:300")
	check(ask(load, "ifid=1", "", 0, 600), "host=a ifid=1 120 value:120") // not above 0: left out
	check(ask(load, "ifid=1", "", 60, 600))
	if _, err := f.TopK(f.ctx, ask(traffic, "ifid=3", "", 0, 600)); !errors.Is(err, timeseries.ErrNoSeries) {
		f.Errorf("no series: got %v", err)
	}
}

// list is R17.
func (f *fixture) list() {
	f.put(load, 60, "1 a", 1)
	f.put(load, 600, "1 b", 1)
	f.put(load, 60, "2 a", 1)
	f.put(load, 600, "2 a", 1)
	check := func(filter string, start, end int64, want ...string) {
		f.Helper()
		q := ask(load, filter, "", start, end)
		list := timeseries.ListQuery{Schema: load, Tags: q.Tags, Start: q.Start, End: q.End}
		if end == 0 {
			list.End = 0
		}
		var got []string
		for tags, err := range f.List(f.ctx, list) {
			if err != nil {
				got = append(got, "error")
				if !errors.Is(err, timeseries.ErrNoSeries) {
					f.Errorf("%s: %v", filter, err)
				}
				continue
			}
			got = append(got, text(tags))
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			f.Errorf("%s in %d..%d: %s", filter, start, end, diff)
		}
	}
	check("", 0, 0, "host=a ifid=1", "host=a ifid=2", "host=b ifid=1")
	check("host=a", 0, 0, "host=a ifid=1", "host=a ifid=2")
	check("ifid=1 nothing=1", 0, 0, "host=a ifid=1", "host=b ifid=1")
	check("", 600, 0, "host=a ifid=2", "host=b ifid=1")
	check("", 601, 0)
	check("", 60, 60, "host=a ifid=1", "host=a ifid=2")
	check("", 61, 599)
	check("host=x", 0, 0, "error")
	for range f.List(f.ctx, timeseries.ListQuery{Schema: load}) {
		break // may end early
	}
}

// delete is R18.
func (f *fixture) delete() {
	fill := func() {
		for _, s := range []*timeseries.Schema{traffic, load, other} {
			for _, tags := range []string{"1 a", "1 b", "2 a"} {
				f.put(s, 60, tags, make([]float64, len(s.Metrics))...)
			}
		}
		f.put(iface, 60, "1", 0)
		f.put(rate, 60, "hits dc=x", 0)
	}
	check := func(prefix, filter string, want ...string) {
		f.Helper()
		fill()
		if err := f.Delete(f.ctx, prefix, ask(load, filter, "", 0, 0).Tags); err != nil {
			f.Fatalf("%q, %s: %v", prefix, filter, err)
		}
		var got []string
		for _, s := range []*timeseries.Schema{traffic, load, other, iface, rate} {
			n := 0
			for _, err := range f.List(f.ctx, timeseries.ListQuery{Schema: s}) {
				if err == nil {
					n++
				}
			}
			got = append(got, fmt.Sprintf("%s %d", s.Name, n))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			f.Errorf("%q, %s: %s", prefix, filter, diff)
		}
	}
	check("host", "ifid=1 host=a", "host:traffic 2", "host:load 2", "host2:load 3", "iface:load 1", "statsd:counter 1")
	check("host", "host=a", "host:traffic 1", "host:load 1", "host2:load 3", "iface:load 1", "statsd:counter 1")
	check("host", "", "host:traffic 0", "host:load 0", "host2:load 3", "iface:load 1", "statsd:counter 1")
	check("hos", "", "host:traffic 3", "host:load 3", "host2:load 3", "iface:load 1", "statsd:counter 1")
	check("", "ifid=1", "host:traffic 1", "host:load 1", "host2:load 1", "iface:load 0", "statsd:counter 1")
	check("iface", "ifid=1 host=a", "host:traffic 3", "host:load 3", "host2:load 3", "iface:load 1", "statsd:counter 1")
	if err := f.Delete(f.ctx, "", nil); err == nil {
		f.Error("everything was deleted")
	}

	// What comes after a deletion is a new series: no old point, no old predecessor.
	fill()
	f.put(traffic, 120, "1 a", 100, 100)
	if err := f.Delete(f.ctx, "host", timeseries.Tags{"host": "a"}); err != nil {
		f.Fatal(err)
	}
	f.put(traffic, 180, "1 a", 700, 700)
	f.want(ask(traffic, "ifid=1 host=a", "", 0, 180), map[string][]float64{"sent host=a ifid=1": {nan, nan, nan}, "rcvd host=a ifid=1": {nan, nan, nan}})
}

// unknown is R19 and the errors of Query.
func (f *fixture) unknown() {
	check := func(q timeseries.Query, want error) {
		f.Helper()
		if _, err := f.Query(f.ctx, q); !errors.Is(err, want) {
			f.Errorf("query %s by %v: got %v, want %v", text(q.Tags), q.GroupBy, err, want)
		}
		if _, err := f.TopK(f.ctx, q); !errors.Is(err, want) {
			f.Errorf("topk %s by %v: got %v, want %v", text(q.Tags), q.GroupBy, err, want)
		}
	}
	check(ask(load, "host=a", "", 0, 60), timeseries.ErrNoSeries)
	f.put(load, 60, "1 a", 1)
	check(ask(load, "host=b", "", 0, 60), timeseries.ErrNoSeries)
	check(ask(other, "", "", 0, 60), timeseries.ErrNoSeries)
	check(ask(load, "nothing=a", "", 0, 60), timeseries.ErrUnknownTag)
	check(ask(load, "", "nothing", 0, 60), timeseries.ErrUnknownTag)
	check(ask(load, "host=a", "", 60, 0), timeseries.ErrBadRange)
}

// samples is timeseries.Reader.
func (f *fixture) samples(reader timeseries.Reader) {
	check := func(q timeseries.SampleQuery, want ...string) {
		f.Helper()
		q.After, q.Through = q.After+Start, q.Through+Start
		var got []string
		for s, err := range reader.Samples(f.ctx, q) {
			if err != nil {
				f.Fatal(err)
			}
			line := strings.Join(s.Tags, " ") + ":"
			for i, at := range s.Times {
				line += fmt.Sprintf(" %d", at-Start)
				for _, column := range s.Values {
					if len(column) != len(s.Times) {
						f.Fatalf("%d values at %d times", len(column), len(s.Times))
					}
					line += fmt.Sprintf("/%v", column[i])
				}
			}
			got = append(got, line)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			f.Errorf("%s in %d..%d: %s", text(q.Tags), q.After-Start, q.Through-Start, diff)
		}
	}
	check(timeseries.SampleQuery{Schema: traffic, Through: 1000})
	f.put(traffic, 120, "1 a", 2, nan)
	f.put(traffic, 60, "1 a", 1, 10)
	f.put(traffic, 180, "1 a", 4, 40)
	f.put(traffic, 180, "1 a", 3, 30)
	f.put(traffic, 36000, "1 a", 5, 50)
	f.put(traffic, 120, "2 b", -7, 70)
	f.put(rate, 10, "hits dc=x;host=a", 1)
	f.put(rate, 10, "hits dc=y", 2)
	check(timeseries.SampleQuery{Schema: traffic, After: -1, Through: 40000}, "1 a: 60/1/10 120/2/NaN 180/3/30 36000/5/50", "2 b: 120/-7/70")
	check(timeseries.SampleQuery{Schema: traffic, After: 60, Through: 120}, "1 a: 120/2/NaN", "2 b: 120/-7/70")
	check(timeseries.SampleQuery{Schema: traffic, After: 120, Through: 36000, Metrics: []int{1}}, "1 a: 180/30 36000/50")
	check(timeseries.SampleQuery{Schema: traffic, After: 59, Through: 60, Metrics: []int{1, 0}}, "1 a: 60/10/1")
	check(timeseries.SampleQuery{Schema: traffic, After: 180, Through: 35999})
	check(timeseries.SampleQuery{Schema: traffic, After: 180, Through: 60})
	check(timeseries.SampleQuery{Schema: traffic, After: -math.MaxInt64 / 2, Through: math.MaxInt64 - Start, Tags: timeseries.Tags{"host": "b"}}, "2 b: 120/-7/70")
	check(timeseries.SampleQuery{Schema: traffic, Through: 120, Tags: timeseries.Tags{"host": "a", "ifid": "1"}}, "1 a: 60/1/10 120/2/NaN")
	check(timeseries.SampleQuery{Schema: traffic, Through: 120, Tags: timeseries.Tags{"host": "a", "ifid": "2"}})
	host := func(want string) func([]string) bool { return func(tags []string) bool { return tags[1] == want } }
	check(timeseries.SampleQuery{Schema: traffic, Through: 120, Match: host("b")}, "2 b: 120/-7/70")
	check(timeseries.SampleQuery{Schema: traffic, Through: 120, Match: host("b"), Tags: timeseries.Tags{"ifid": "1"}})
	check(timeseries.SampleQuery{Schema: traffic, Through: 120, Match: host("b"), Tags: timeseries.Tags{"ifid": "2", "host": "b"}}, "2 b: 120/-7/70")
	check(timeseries.SampleQuery{Schema: rate, Through: 10, Tags: timeseries.Tags{"dc": "x"}}, "hits dc=x;host=a: 10/1")
	check(timeseries.SampleQuery{Schema: load, Through: 10})

	first := true
	for _, err := range reader.Samples(f.ctx, timeseries.SampleQuery{Schema: traffic, Tags: timeseries.Tags{"nothing": "1"}, Through: Start + 120}) {
		if first = false; !errors.Is(err, timeseries.ErrUnknownTag) {
			f.Errorf("unknown tag: got %v", err)
		}
	}
	if first {
		f.Error("unknown tag: no error")
	}
	for range reader.Samples(f.ctx, timeseries.SampleQuery{Schema: traffic, After: Start, Through: Start + 120}) {
		break // may end early
	}
}

func (f *fixture) catalog() {
	names := func() (names []string) {
		all, err := f.Schemas(f.ctx)
		if err != nil {
			f.Fatal(err)
		}
		for _, s := range all {
			names = append(names, s.Name)
		}
		return names
	}
	if got := names(); len(got) != 0 {
		f.Errorf("got %q", got)
	}
	f.put(traffic, 60, "1 a", 1, 2)
	f.put(load, 120, "1 a", 1)
	f.put(traffic, 120, "1 b", 1, 2)
	if got, want := names(), []string{"host:load", "host:traffic"}; !slices.Equal(got, want) {
		f.Errorf("got %q, want %q", got, want)
	}
	if latest, err := f.LatestTimestamp(f.ctx); err != nil || latest < Start+120 {
		f.Errorf("latest: got %d, %v", latest, err)
	}
	for range 2 {
		if err := errors.Join(f.Setup(f.ctx), f.Export(f.ctx)); err != nil {
			f.Error(err)
		}
	}
}
