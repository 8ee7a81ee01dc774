package storage

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/weirhq/weir/timeseries"
)

// memory is a driver that remembers what was appended, as lines of text.
type memory struct {
	setups  int
	batches []int // sizes
	lines   []string
	schemas []*timeseries.Schema // what Schemas answers
	answer  func(points []timeseries.Point) error
}

func (d *memory) Setup(context.Context) error { d.setups++; return nil }

func (d *memory) Append(ctx context.Context, points []timeseries.Point) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if d.answer != nil {
		if err := d.answer(points); err != nil {
			return err
		}
	}
	d.batches = append(d.batches, len(points))
	for _, p := range points {
		if err := p.Validate(); err != nil {
			return err
		}
		if err := p.Schema.Validate(); err != nil {
			return err
		}
		d.lines = append(d.lines, text(p))
	}
	return nil
}

func (d *memory) Schemas(context.Context) ([]*timeseries.Schema, error) { return d.schemas, nil }

// text renders a point: "schema{tag=value,...} time metric=value ...", without the metrics that have no value.
func text(p timeseries.Point) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s{", strings.TrimPrefix(p.Schema.Name, "statsd:"))
	for i, tag := range p.Tags {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%s:%s", p.Schema.Tags[i], tag)
	}
	fmt.Fprintf(&b, "} %d", p.Time)
	for i, v := range p.Values {
		if !math.IsNaN(v) {
			fmt.Fprintf(&b, " %s=%v", p.Schema.Metrics[i], v)
		}
	}
	return b.String()
}

// take returns the lines in order and forgets them.
func (d *memory) take() []string {
	lines := d.lines
	d.lines = nil
	slices.Sort(lines)
	return lines
}

func (*memory) Query(context.Context, timeseries.Query) (*timeseries.Result, error) {
	panic("not asked by this backend")
}
func (*memory) Total(context.Context, timeseries.Query) (map[string]float64, error) {
	panic("not asked by this backend")
}
func (*memory) List(context.Context, timeseries.ListQuery) iter.Seq2[timeseries.Tags, error] {
	panic("not asked by this backend")
}
func (*memory) TopK(context.Context, timeseries.Query) (*timeseries.TopResult, error) {
	panic("not asked by this backend")
}
func (*memory) Export(context.Context) error { panic("not asked by this backend") }
func (*memory) LatestTimestamp(context.Context) (int64, error) {
	panic("not asked by this backend")
}
func (*memory) Delete(context.Context, string, timeseries.Tags) error {
	panic("not asked by this backend")
}
func (*memory) DeleteOld(context.Context, int64) error { panic("not asked by this backend") }
