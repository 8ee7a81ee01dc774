package tsdriver

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/timeseries"
)

// A driver that has only the style with one table answers the calls of the contract (R3).
func TestR03_OneTableOnly(t *testing.T) {
	d, w := load(t, `
		local d = {}
		function d:new() return self end
		function d:append() return true end
		local function line(o, host, v)
			return { id = "bytes_sent", tags = { ifid = o.tags.ifid, host = host }, data = { v, v }, statistics = { total = 2 * v * 300, average = v } }
		end
		function d:timeseries_query(o)
			assert(o.schema == "host:traffic" and o.schema_info.name == o.schema and o.epoch_end == 600 and o.top == 8 and o.keep_nan == false)
			return { metadata = { epoch_begin = o.epoch_begin, epoch_end = o.epoch_end, epoch_step = 300, num_point = 2 }, series = { line(o, o.tags.host, 7) } }
		end
		function d:timeseries_top(o, top_tags)
			assert(top_tags[1] == "host" and not top_tags[2])
			return { metadata = { epoch_begin = o.epoch_begin, epoch_step = 300 }, series = { line(o, "big", 9), line(o, "small", 1) } }
		end
		return d`, nil)
	ctx := t.Context()
	q := timeseries.Query{Schema: traffic, Tags: timeseries.Tags{"ifid": "1", "host": "a"}, End: 600, Options: timeseries.DefaultOptions()}
	r, err := d.Query(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	if r.Start != 0 || r.Step != 300 || r.Count != 2 || r.Series[0].Label != "bytes_sent" || r.Series[0].Statistics.Total != 4200 || r.Statistics.Average != 7 {
		t.Errorf("%+v", r)
	}
	if total, err := d.Total(ctx, q); err != nil || total["bytes_sent"] != 4200 {
		t.Error(total, err)
	}
	q.Tags, q.WithSeries = timeseries.Tags{"ifid": "1"}, true
	top, err := d.TopK(ctx, q)
	if err != nil || len(top.Items) != 2 || top.Items[0].Tags["host"] != "big" || top.Items[0].Value != 5400 || len(top.Series) != 2 {
		t.Errorf("%+v %v", top, err)
	}
	if len(w.lines)+len(w.errors) > 0 {
		t.Error(w)
	}
}

// A topk that fails gives way to timeseries_top (2.6).
func TestTopKThatFails(t *testing.T) {
	d, _ := load(t, `
		local d = {}
		function d:new() return self end
		function d:topk() return nil + 1 end
		return d`, nil)
	q := timeseries.Query{Schema: traffic, Tags: timeseries.Tags{"ifid": "1"}, End: 600, Options: timeseries.DefaultOptions()}
	if _, err := d.TopK(t.Context(), q); err == nil {
		t.Error("an error is no error")
	}
	d.lua(t, `require("ts_utils").getQueryDriver().timeseries_top = function() return { series = { { id = "bytes", tags = { host = "x" }, data = { 1 } } } } end`)
	if top, err := d.TopK(t.Context(), q); err != nil || len(top.Items) != 1 || top.Items[0].Tags["host"] != "x" {
		t.Errorf("%+v %v", top, err)
	}
}

// Questions that a script has no call for are put together from its series: groups, and tags that are missing.
func TestGroups(t *testing.T) {
	d, _ := load(t, `
		local d = {}
		function d:new() return self end
		function d:listSeries(schema, filter)
			local list = {}
			for ifid = 1, 2 do
				for _, host in ipairs({ "a", "b" }) do
					if not filter.ifid or filter.ifid == tostring(ifid) then list[#list + 1] = { ifid = ifid, host = host } end
				end
			end
			return list
		end
		function d:query(schema, tstart, tend, tags)
			local v = tonumber(tags.ifid) * (tags.host == "a" and 1 or 10)
			return { start = tstart, step = 300, count = 2, series = { { label = "bytes_sent", data = { v, v } }, { label = "bytes_rcvd", data = { v } } } }
		end
		return d`, nil)
	q := timeseries.Query{Schema: traffic, GroupBy: []string{"host"}, End: 600, Options: timeseries.DefaultOptions()}
	r, err := d.Query(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, s := range r.Series {
		got[s.Tags["host"]+" "+s.Label] = s.Data[0]
	}
	if diff := cmp.Diff(map[string]float64{"a bytes_sent": 3, "a bytes_rcvd": 3, "b bytes_sent": 30, "b bytes_rcvd": 30}, got); diff != "" || r.Total[0] != 66 || r.Total[1] != 33 {
		t.Error(diff, r.Total)
	}
	q.Start, q.End = 600, 0
	if _, err := d.Query(t.Context(), q); !errors.Is(err, timeseries.ErrBadRange) {
		t.Error(err)
	}
	q.Start, q.End, q.GroupBy = 0, 600, []string{"nothing"}
	if _, err := d.Query(t.Context(), q); !errors.Is(err, timeseries.ErrUnknownTag) {
		t.Error(err)
	}
}
