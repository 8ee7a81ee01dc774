package front

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/weirhq/weir/timeseries"
)

var _ timeseries.Reader = (*Drivers)(nil)

// Samples implements timeseries.Reader by the driver that is read. The error is
// errors.ErrUnsupported when that one gives no samples.
func (d *Drivers) Samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	return func(yield func(*timeseries.Samples, error) bool) {
		if d.read == nil {
			yield(nil, errNothingToRead)
			return
		}
		reader, ok := d.read.Driver.(timeseries.Reader)
		if !ok {
			yield(nil, fmt.Errorf("the timeseries driver %s gives no samples, which PromQL needs: read from the store or from a remote one: %w", d.read.Name, errors.ErrUnsupported))
			return
		}
		if err := d.read.samples(ctx, reader, q, yield); err != nil {
			yield(nil, err)
		}
	}
}

// samples returns the error of a panic of the driver. One of yield is the caller's own and goes through.
func (t *target) samples(ctx context.Context, reader timeseries.Reader, q timeseries.SampleQuery, yield func(*timeseries.Samples, error) bool) (err error) {
	theirs := false
	defer func() {
		if theirs {
			return
		}
		if p := recover(); p != nil {
			err = t.panic("samples", p)
		}
	}()
	for one, err := range reader.Samples(ctx, q) {
		theirs = true
		more := yield(one, err)
		theirs = false
		if !more {
			return nil
		}
	}
	return nil
}
