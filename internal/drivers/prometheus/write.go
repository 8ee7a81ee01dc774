package prometheus

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protowire"

	naming "github.com/weirhq/weir/internal/prometheus"
	"github.com/weirhq/weir/timeseries"
)

// Numbers of the fields of the protocol's messages.
const (
	requestSeries = 1
	seriesLabels  = 1
	seriesSamples = 2
	labelName     = 1
	labelValue    = 2
	sampleValue   = 1
	sampleTime    = 2
)

// writeRequest is a remote write request of points: one series for each metric of
// each series, with its samples in the order of time.
func writeRequest(points []timeseries.Point) []byte {
	type key struct {
		schema *timeseries.Schema
		tags   string
	}
	numbers := make(map[key]int)
	var series [][]*timeseries.Point
	for i := range points {
		p := &points[i]
		k := key{p.Schema, strings.Join(p.Tags, "\x00")}
		n, ok := numbers[k]
		if !ok {
			n = len(series)
			numbers[k] = n
			series = append(series, nil)
		}
		series[n] = append(series[n], p)
	}
	var request, one []byte
	for _, list := range series {
		list = ascending(list)
		for m, metric := range list[0].Schema.Metrics {
			one = appendLabels(one[:0], naming.Labels(list[0].Schema, list[0].Tags, metric))
			any := false
			for _, p := range list {
				if v := p.Values[m]; !math.IsNaN(v) {
					one = appendSample(one, v, p.Time*1000)
					any = true
				}
			}
			if any {
				request = protowire.AppendTag(request, requestSeries, protowire.BytesType)
				request = protowire.AppendBytes(request, one)
			}
		}
	}
	return request
}

// ascending sorts points of one series by time; of those with one time the last stays.
func ascending(points []*timeseries.Point) []*timeseries.Point {
	slices.SortStableFunc(points, func(a, b *timeseries.Point) int { return cmp.Compare(a.Time, b.Time) })
	kept := points[:0]
	for i, p := range points {
		if i+1 < len(points) && points[i+1].Time == p.Time {
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

func appendLabels(dst []byte, set labels.Labels) []byte {
	set.Range(func(l labels.Label) {
		size := protowire.SizeTag(labelName) + protowire.SizeBytes(len(l.Name)) + protowire.SizeTag(labelValue) + protowire.SizeBytes(len(l.Value))
		dst = protowire.AppendTag(dst, seriesLabels, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(size))
		dst = protowire.AppendTag(dst, labelName, protowire.BytesType)
		dst = protowire.AppendString(dst, l.Name)
		dst = protowire.AppendTag(dst, labelValue, protowire.BytesType)
		dst = protowire.AppendString(dst, l.Value)
	})
	return dst
}

func appendSample(dst []byte, v float64, milliseconds int64) []byte {
	size := protowire.SizeTag(sampleValue) + protowire.SizeFixed64() + protowire.SizeTag(sampleTime) + protowire.SizeVarint(uint64(milliseconds))
	dst = protowire.AppendTag(dst, seriesSamples, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(size))
	dst = protowire.AppendTag(dst, sampleValue, protowire.Fixed64Type)
	dst = protowire.AppendFixed64(dst, math.Float64bits(v))
	dst = protowire.AppendTag(dst, sampleTime, protowire.VarintType)
	return protowire.AppendVarint(dst, uint64(milliseconds))
}
