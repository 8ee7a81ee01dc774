package exec

import (
	"bytes"
	"math"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
	"github.com/weirhq/weir/internal/broker"
)

// values are what a command says, with paths below prefix.
func (o *outcome) values(prefix string, at time.Time) []collector.Value {
	all := []collector.Value{
		{Path: prefix + "status", Value: float64(o.status), Time: at},
		{Path: prefix + "seconds", Value: o.took.Seconds(), Time: at},
	}
	seen := make(map[string]bool)
	for _, item := range broker.ParsePerfdata(nil, performance(o.output)) {
		path := prefix + "perf." + bot.Segment(string(item.Label))
		value := item.Value
		if factor, ok := units[string(item.Unit)]; ok {
			value *= factor
		}
		if seen[path] || math.IsNaN(value) || math.IsInf(value, 0) {
			continue // labels that differ only in what a path cannot have are one
		}
		seen[path] = true
		all = append(all, collector.Value{Path: path, Value: value, Time: at})
	}
	return all
}

// performance is the performance data of an output: what stands behind the first | of the first
// line, and behind the first | of the lines after it, which ends with the output.
func performance(output []byte) []byte {
	first, others, _ := bytes.Cut(output, []byte("\n"))
	_, data, _ := bytes.Cut(first, []byte("|"))
	_, more, _ := bytes.Cut(others, []byte("|"))
	return bytes.Join([][]byte{data, more}, []byte(" "))
}

// units are those that are not kept as they are: seconds and bytes. A KB has 1024 bytes, as
// the plugins that print it count.
var units = map[string]float64{
	"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9,
	"KB": 1 << 10, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40, "PB": 1 << 50, "EB": 1 << 60,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50, "EiB": 1 << 60,
}
