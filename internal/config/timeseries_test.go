package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/front"
	"github.com/weirhq/weir/timeseries"
)

// The schemas of the file are definitions for the front, with their defaults.
func TestDefinitions(t *testing.T) {
	c := parsed(t, `
timeseries:
  schemas:
    - {name: "app:requests", step: 10s, metrics: [n]}
    - {name: "app:latency", step: 1m, type: gauge, aggregation: max, tags: [ifid, labels], metrics: [p50, p99], heartbeat: 5m, packed: labels, keep_total: true}
    - {name: "app:rate", step: 1s, type: derivative, aggregation: last, metrics: [v]}
`)
	want := []*front.Definition{
		{Schema: &timeseries.Schema{Name: "app:requests", Step: 10, Metrics: []string{"n"}}},
		{KeepTotal: true, Schema: &timeseries.Schema{Name: "app:latency", Step: 60, Type: timeseries.Gauge, Aggregation: timeseries.Max,
			Tags: []string{"ifid", "labels"}, Metrics: []string{"p50", "p99"}, Heartbeat: 300, Packed: "labels"}},
		{Schema: &timeseries.Schema{Name: "app:rate", Step: 1, Type: timeseries.Derivative, Aggregation: timeseries.Last, Metrics: []string{"v"}}},
	}
	if diff := cmp.Diff(want, c.Timeseries.Definitions()); diff != "" {
		t.Error(diff)
	}
}

// R21: the drivers that are written to, in their order, and the one that is read.
func TestR21_WriteAndRead(t *testing.T) {
	f := func(text, read string, stores, keeps bool, names ...string) {
		t.Helper()
		c := parsed(t, text)
		var got []string
		for _, d := range c.Timeseries.Write {
			got = append(got, d.Kind+" "+d.Name)
		}
		if diff := cmp.Diff(names, got); diff != "" || c.Timeseries.Read != read || c.Stores() != stores || c.Keeps() != keeps {
			t.Errorf("%s: read %q, stores %v, keeps %v %s", text, c.Timeseries.Read, c.Stores(), c.Keeps(), diff)
		}
	}
	f("", "store", true, true, "store store")
	f("timeseries: {write: [store], read: store}", "store", true, true, "store store")
	f("timeseries: {write: []}\nstatsd: {backends: []}", "", false, false)
	f("timeseries: {write: [store, lua: {script: a.lua}], read: lua}", "lua", true, true, "store store", "lua lua")
	f("timeseries: {write: [lua: {script: a.lua, name: one}, lua: {script: a.lua, name: two}]}", "one", false, true, "lua one", "lua two")
}
