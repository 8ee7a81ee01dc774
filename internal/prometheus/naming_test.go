package prometheus

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/weirhq/weir/timeseries"
)

func TestMetricName(t *testing.T) {
	f := func(schema, metric, want string) {
		t.Helper()
		if got := MetricName(&timeseries.Schema{Name: schema}, metric); got != want {
			t.Errorf("%s %s: got %s, want %s", schema, metric, got, want)
		}
	}
	f("host:ndpi", "bytes_sent", "host_ndpi_bytes_sent")
	f("group:Hosts top-talkers", "in.bytes", "group_Hosts_top_talkers_in_bytes")
	f("statsd:timer", "mean_90", "statsd_timer_mean_90")
	f("9:é", "%", "_9____")
	f("prometheus:up", "value", "up")
	f("prometheus:job%3Arate5m", "value", "job:rate5m")
	f("prometheus:a%20b%25", "value", "a b%")
}

// What Prometheus calls a metric comes back from the schema it is stored in.
func TestSchemaOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		if got, ok := nameOf(SchemaOf(name)); !ok || got != name {
			t.Fatalf("%q became %q in %q", name, got, SchemaOf(name))
		}
	})
	for _, name := range []string{"up", "job:rate5m", "a b", "%3A"} {
		s := timeseries.Schema{Name: SchemaOf(name), Step: 1, Metrics: []string{"value"}}
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
	}
	if _, ok := nameOf("statsd:counter"); ok {
		t.Error("statsd:counter did not come from Prometheus")
	}
}

func TestLabels(t *testing.T) {
	f := func(schema *timeseries.Schema, tags []string, want string) {
		t.Helper()
		if got := Labels(schema, tags, schema.Metrics[0]).String(); got != want {
			t.Errorf("%q:\n got %s\nwant %s", tags, got, want)
		}
	}
	f(ndpi, []string{"1", "a\xffb"}, `{__name__="host_ndpi_bytes_sent", host="a�b", ifid="1", schema="host:ndpi"}`)
	f(ndpi, []string{"1", ""}, `{__name__="host_ndpi_bytes_sent", ifid="1", schema="host:ndpi"}`)
	f(counter, []string{"n", ""}, `{__name__="statsd_counter_value", name="n", schema="statsd:counter"}`)
	f(counter, []string{"n", "b.c=1;name=2;schema=3;b_c=4;b.c=5;flag;__name__=6"}, `{__name__="statsd_counter_value", b_c="1", exported___name__="6", exported_b_c="4", exported_name="2", exported_schema="3", name="n", schema="statsd:counter"}`)
	f(up, []string{"job=a;schema=b;exported_schema=c;with.dot=d;labels=e"}, `{__name__="up", exported_schema="c", job="a", labels="e", schema="b", "with.dot"="d"}`)
	f(up, []string{""}, `{__name__="up"}`)
}

// No label is there twice, whatever the tags are.
func TestLabelsAreDistinct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		schema := rapid.SampledFrom([]*timeseries.Schema{counter, up, odd}).Draw(t, "schema")
		var tags []string
		for range schema.Tags {
			tags = append(tags, rapid.StringOf(rapid.RuneFrom([]rune(`ab.=;\_é`))).Draw(t, "tag"))
		}
		l := Labels(schema, tags, schema.Metrics[0])
		if name, twice := l.HasDuplicateLabelNames(); twice {
			t.Fatalf("%q: label %q is there twice: %s", tags, name, l)
		}
	})
}
