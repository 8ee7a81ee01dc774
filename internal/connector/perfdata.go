package connector

import (
	"github.com/weirhq/weir/internal/broker"
	"github.com/weirhq/weir/internal/lua"
)

// parsePerfdata is broker.parse_perfdata (5.3.4).
func parsePerfdata(c *lua.Call) (int, error) {
	text, err := c.Bytes(1)
	if err != nil {
		return 0, err
	}
	full := c.Bool(2)
	all := &lua.Table{}
	for _, m := range broker.ParsePerfdata(nil, text) {
		if full {
			all.Set(string(m.Label), fullMetric(&m))
		} else {
			all.Set(string(m.Label), m.Value)
		}
	}
	c.Push(all)
	return 1, nil
}

func fullMetric(m *broker.Metric) *lua.Table {
	t := &lua.Table{}
	t.Set("value", m.Value)
	t.Set("uom", m.Unit)
	t.Set("min", m.Min)
	t.Set("max", m.Max)
	t.Set("warning_low", m.Warning.Low)
	t.Set("warning_high", m.Warning.High)
	t.Set("warning_mode", m.Warning.Inside)
	t.Set("critical_low", m.Critical.Low)
	t.Set("critical_high", m.Critical.High)
	t.Set("critical_mode", m.Critical.Inside)
	t.Set("metric_name", m.Name())
	t.Set("instance", m.Instance())
	t.Set("subinstance", texts(m.AppendSubinstances(nil)))
	t.Set("metric_fields", texts(m.AppendFields(nil)))
	t.Set("metric_unit", m.NameUnit())
	return t
}

func texts(pieces [][]byte) []any {
	list := make([]any, len(pieces))
	for i, piece := range pieces {
		list[i] = piece
	}
	return list
}
