package prometheus

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"pgregory.net/rapid"

	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

var (
	ndpi    = &timeseries.Schema{Name: "host:ndpi", Step: 300, Tags: []string{"ifid", "host"}, Metrics: []string{"bytes_sent", "bytes_rcvd"}}
	counter = &timeseries.Schema{Name: "statsd:counter", Step: 10, Tags: []string{"name", "tags"}, Metrics: []string{"value", "rate"}, Type: timeseries.Gauge, Packed: "tags"}
	up      = &timeseries.Schema{Name: SchemaOf("up"), Step: 15, Tags: []string{"labels"}, Metrics: []string{"value"}, Type: timeseries.Gauge, Packed: "labels"}
	odd     = &timeseries.Schema{Name: "odd:one", Step: 10, Tags: []string{"schema", "a.b", "a_b", "labels"}, Metrics: []string{"v"}, Type: timeseries.Gauge, Packed: "labels"}
)

func appended(t interface{ Fatal(...any) }, points ...timeseries.Point) *memory.Driver {
	d := new(memory.Driver)
	if err := d.Append(context.Background(), points); err != nil {
		t.Fatal(err)
	}
	return d
}

func matchers(t interface{ Fatal(...any) }, text string) []*labels.Matcher {
	list, err := NewHandler(nil, nil).parser.ParseMetricSelector(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// shown is what a SeriesSet holds, a line per series.
func shown(set storage.SeriesSet) (lines []string, err error) {
	var it chunkenc.Iterator
	for set.Next() {
		var b strings.Builder
		b.WriteString(set.At().Labels().String())
		it = set.At().Iterator(it)
		for it.Next() != chunkenc.ValNone {
			at, v := it.At()
			fmt.Fprintf(&b, " %v@%d", v, at)
		}
		lines = append(lines, b.String())
	}
	return lines, set.Err()
}

func TestSelect(t *testing.T) {
	nan := math.NaN()
	d := appended(t,
		timeseries.Point{Schema: ndpi, Time: 300, Tags: []string{"1", "a"}, Values: []float64{1, 10}},
		timeseries.Point{Schema: ndpi, Time: 600, Tags: []string{"1", "a"}, Values: []float64{2, nan}},
		timeseries.Point{Schema: ndpi, Time: 600, Tags: []string{"1", "b"}, Values: []float64{3, nan}},
		timeseries.Point{Schema: counter, Time: 10, Tags: []string{"hits", "region=eu;data.center=x"}, Values: []float64{5, 0.5}},
		timeseries.Point{Schema: counter, Time: 10, Tags: []string{"hits", ""}, Values: []float64{6, 0.6}},
		timeseries.Point{Schema: up, Time: 15, Tags: []string{"instance=i\\=1;job=node;schema=own"}, Values: []float64{1}},
		timeseries.Point{Schema: up, Time: 15, Tags: []string{"instance=i2;job=node"}, Values: []float64{0}},
		timeseries.Point{Schema: up, Time: 30, Tags: []string{"job=node;instance=i2"}, Values: []float64{1}},
		timeseries.Point{Schema: up, Time: 15, Tags: []string{"job=node;instance=i2"}, Values: []float64{7}},
		timeseries.Point{Schema: odd, Time: 10, Tags: []string{"s", "1", "2", "a-b=3;labels=4;schema=5"}, Values: []float64{1}},
	)
	f := func(selector string, start, end int64, want ...string) {
		t.Helper()
		q, _ := (&reading{source: d, limit: maxBytes}).Querier(start, end)
		got, err := shown(q.Select(context.Background(), true, nil, matchers(t, selector)...))
		if err != nil {
			t.Errorf("%s: %v", selector, err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", selector, got, want)
		}
	}
	const all = 1_000_000
	f(`host_ndpi_bytes_sent`, 0, all, `{__name__="host_ndpi_bytes_sent", host="a", ifid="1", schema="host:ndpi"} 1@300000 2@600000`, `{__name__="host_ndpi_bytes_sent", host="b", ifid="1", schema="host:ndpi"} 3@600000`)
	f(`host_ndpi_bytes_sent{host!="b"}`, 300_001, all, `{__name__="host_ndpi_bytes_sent", host="a", ifid="1", schema="host:ndpi"} 2@600000`)
	f(`host_ndpi_bytes_rcvd`, 0, all, `{__name__="host_ndpi_bytes_rcvd", host="a", ifid="1", schema="host:ndpi"} 10@300000`) // those without a value are not there
	f(`{schema="host:ndpi",host="a"}`, 599_001, 600_999, `{__name__="host_ndpi_bytes_sent", host="a", ifid="1", schema="host:ndpi"} 2@600000`)
	f(`{schema=~"host:.*",host="a",host="b"}`, 0, all)
	f(`host_ndpi_bytes_sent{nothing="x"}`, 0, all)
	f(`host_ndpi_bytes_sent{nothing="",ifid="2"}`, 0, all)
	f(`host_ndpi_bytes_sent`, 300_001, 599_999)
	f(`statsd_counter_value{region="eu"}`, 0, all, `{__name__="statsd_counter_value", data_center="x", name="hits", region="eu", schema="statsd:counter"} 5@10000`)
	f(`statsd_counter_value{data_center="x"}`, 0, all, `{__name__="statsd_counter_value", data_center="x", name="hits", region="eu", schema="statsd:counter"} 5@10000`)
	f(`statsd_counter_value{"data.center"="x"}`, 0, all)
	f(`statsd_counter_value{tags="region=eu;data.center=x"}`, 0, all)
	f(`statsd_counter_value{region=""}`, 0, all, `{__name__="statsd_counter_value", name="hits", schema="statsd:counter"} 6@10000`)
	f(`statsd_counter_rate{region=~"e.|"}`, 0, all, `{__name__="statsd_counter_rate", data_center="x", name="hits", region="eu", schema="statsd:counter"} 0.5@10000`, `{__name__="statsd_counter_rate", name="hits", schema="statsd:counter"} 0.6@10000`)
	// What came from Prometheus has its labels and no others; tags that look the same are one series.
	f(`up{instance="i=1"}`, 0, all, `{__name__="up", instance="i=1", job="node", schema="own"} 1@15000`)
	f(`up{schema="own"}`, 0, all, `{__name__="up", instance="i=1", job="node", schema="own"} 1@15000`)
	f(`up{job="node",schema=""}`, 0, all, `{__name__="up", instance="i2", job="node"} 0@15000 1@30000`)
	f(`{__name__=~"up|odd.*",labels=""}`, 20_000, all, `{__name__="up", instance="i2", job="node"} 1@30000`)
	f(`odd_one_v`, 0, all, `{__name__="odd_one_v", a_b="1", exported_a_b="2", exported_exported_a_b="3", exported_exported_schema="5", exported_schema="s", labels="4", schema="odd:one"} 1@10000`)
	f(`odd_one_v{labels="4",exported_a_b="2",exported_exported_schema="5"}`, 0, all, `{__name__="odd_one_v", a_b="1", exported_a_b="2", exported_exported_a_b="3", exported_exported_schema="5", exported_schema="s", labels="4", schema="odd:one"} 1@10000`)
}

// asked is a Source that remembers what it was asked.
type asked struct {
	*memory.Driver
	queries []timeseries.SampleQuery
}

func (a *asked) Samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	a.queries = append(a.queries, q)
	return a.Driver.Samples(ctx, q)
}

// The source is asked for nothing that the matchers exclude.
func TestSelectAsksForLittle(t *testing.T) {
	d := appended(t,
		timeseries.Point{Schema: ndpi, Time: 300, Tags: []string{"1", "a"}, Values: []float64{1, 10}},
		timeseries.Point{Schema: counter, Time: 10, Tags: []string{"hits", "region=eu"}, Values: []float64{5, 0.5}},
		timeseries.Point{Schema: up, Time: 15, Tags: []string{"job=node"}, Values: []float64{1}},
	)
	f := func(selector string, want string) {
		t.Helper()
		a := &asked{Driver: d}
		q, _ := (&reading{source: a, limit: maxBytes}).Querier(1, 20_999)
		if _, err := shown(q.Select(context.Background(), true, nil, matchers(t, selector)...)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, q := range a.queries {
			got = append(got, fmt.Sprintf("%s %v %v %v %d %d", q.Schema.Name, q.Tags, q.Metrics, q.Match != nil, q.After, q.Through))
		}
		if text := strings.Join(got, " + "); text != want {
			t.Errorf("%s: asked %s, want %s", selector, text, want)
		}
	}
	f(`up`, "prometheus:up map[] [0] false 0 20")
	f(`up{job="node",instance_id="x"}`, "prometheus:up map[instance_id:x job:node] [0] false 0 20")
	f(`up{job="node",job!=""}`, "prometheus:up map[job:node] [0] true 0 20")
	f(`up{job=""}`, "prometheus:up map[] [0] true 0 20")
	f(`host_ndpi_bytes_rcvd{host="a",ifid=~"1|2"}`, "host:ndpi map[host:a] [1] true 0 20")
	f(`host_ndpi_bytes_rcvd{host="a",host="b"}`, "")
	f(`host_ndpi_bytes_rcvd{other="a"}`, "")
	f(`host_ndpi_bytes_rcvd{other=""}`, "host:ndpi map[] [1] false 0 20")
	f(`{schema="host:ndpi"}`, "host:ndpi map[] [0 1] false 0 20 + prometheus:up map[schema:host:ndpi] [0] false 0 20")
	f(`{__name__=~".+_value|up"}`, "prometheus:up map[] [0] false 0 20 + statsd:counter map[] [0] false 0 20")
	f(`statsd_counter_value{name="hits",region="eu"}`, "statsd:counter map[name:hits region:eu] [0] false 0 20")
	f(`statsd_counter_value{data_center="x"}`, "statsd:counter map[] [0] true 0 20") // it may be data.center
	f(`statsd_counter_value{tags="x"}`, "statsd:counter map[] [0] true 0 20")        // the label is of a key "tags", the tag is not
	f(`statsd_counter_value{name="\ufffd"}`, "statsd:counter map[] [0] true 0 20")   // it may be any broken text
}

// Whatever is pushed down, the answer is that of the matchers on the labels.
func TestSelectMatchesLabels(t *testing.T) {
	schemas := []*timeseries.Schema{ndpi, counter, up, odd}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"", "a", "b", "a.b", "a_b", "schema", "labels", "name", "tags", "exported_a_b", "__name__", "\xff", "é", "x=y", "1"})
		var points []timeseries.Point
		for range rapid.IntRange(1, 12).Draw(t, "points") {
			p := timeseries.Point{Schema: rapid.SampledFrom(schemas).Draw(t, "schema"), Time: rapid.Int64Range(1, 3).Draw(t, "time")}
			for _, tag := range p.Schema.Tags {
				text := word.Draw(t, "value")
				if tag == p.Schema.Packed {
					var packed []byte
					for range rapid.IntRange(0, 3).Draw(t, "keys") {
						packed = timeseries.AppendPacked(packed, word.Draw(t, "key"), word.Draw(t, "value"))
					}
					text = string(packed)
				}
				p.Tags = append(p.Tags, text)
			}
			for range p.Schema.Metrics {
				p.Values = append(p.Values, float64(rapid.IntRange(0, 9).Draw(t, "number")))
			}
			points = append(points, p)
		}
		list := []*labels.Matcher{}
		for range rapid.IntRange(1, 3).Draw(t, "matchers") {
			name := rapid.SampledFrom([]string{"__name__", "schema", "_", "a", "a_b", "a.b", "exported_a_b", "exported_schema", "labels", "name", "tags", "host", "ifid", "1", "_1", "exported_labels"}).Draw(t, "label")
			typ := rapid.SampledFrom([]labels.MatchType{labels.MatchEqual, labels.MatchEqual, labels.MatchNotEqual, labels.MatchRegexp, labels.MatchNotRegexp}).Draw(t, "type")
			value := strings.ToValidUTF8(word.Draw(t, "wanted"), "�")
			list = append(list, labels.MustNewMatcher(typ, name, value))
		}
		d := appended(t, points...)
		want := make(map[string]bool)
		for _, p := range points {
			for _, metric := range p.Schema.Metrics {
				l := Labels(p.Schema, p.Tags, metric)
				if !slices.ContainsFunc(list, func(m *labels.Matcher) bool { return !m.Matches(l.Get(m.Name)) }) {
					want[l.String()] = true
				}
			}
		}
		q, _ := (&reading{source: d, limit: maxBytes}).Querier(0, 10_000)
		set := q.Select(context.Background(), true, nil, list...)
		got := make(map[string]bool)
		for set.Next() {
			got[set.At().Labels().String()] = true
		}
		if set.Err() != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v:\n got %v %v\nwant %v", list, got, set.Err(), want)
		}
		// The listings agree.
		names := make(seen)
		inside, _ := (&reading{source: d, limit: maxBytes}).Querier(0, 10_000)
		err := inside.(*querier).each(context.Background(), list, func(l labels.Labels) error {
			if !want[l.String()] {
				t.Fatalf("%v: listed %v", list, l)
			}
			names[l.String()] = true
			return nil
		})
		if err != nil || len(names) != len(want) {
			t.Fatalf("%v: listed %v %v, want %v", list, names, err, want)
		}
	})
}

type seen map[string]bool

func TestIterator(t *testing.T) {
	s := &series{times: []int64{10, 20, 30}, values: []float64{1, 2, 3}}
	it := s.Iterator(nil)
	f := func(got chunkenc.ValueType, at int64) {
		t.Helper()
		if at == 0 {
			if got != chunkenc.ValNone {
				t.Errorf("got %v", got)
			}
			return
		}
		if now, v := it.At(); got != chunkenc.ValFloat || now != at || v != float64(at/10000) || it.AtT() != at {
			t.Errorf("got %v: %v at %d, want %d", got, v, now, at)
		}
	}
	f(it.Seek(10_001), 20_000)
	f(it.Seek(5), 20_000) // it stays
	f(it.Next(), 30_000)
	f(it.Next(), 0)
	f(it.Next(), 0)
	f(it.Seek(5), 0)
	it = s.Iterator(it)
	f(it.Next(), 10_000)
	f(it.Seek(10_000), 10_000)
	f(it.Seek(30_000), 30_000)
	f(it.Seek(30_001), 0)
	f((&series{}).Iterator(it).Seek(0), 0)
}

func TestInterval(t *testing.T) {
	f := func(mint, maxt, first, last int64) {
		t.Helper()
		if got := interval(mint, maxt); got != (seconds{first, last}) {
			t.Errorf("%d to %d: %v", mint, maxt, got)
		}
	}
	f(0, 0, 0, 0)
	f(1, 999, 1, 0)
	f(1000, 2000, 1, 2)
	f(1001, 2999, 2, 2)
	f(-1, -1, 0, -1)
	f(-1500, 1500, 0, 1)
	f(math.MinInt64, math.MaxInt64, 0, latest)
}
