package front

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/memory"
)

// panickingReader is a driver whose samples are a panic.
type panickingReader struct{ *memory.Driver }

func (panickingReader) Samples(context.Context, timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	panic("broken")
}

// noReader is a driver that gives no samples.
type noReader struct{ timeseries.Driver }

// Samples come from the driver that is read, and a failure of it is an error.
func TestDriversGiveSamples(t *testing.T) {
	ctx := context.Background()
	schema := &timeseries.Schema{Name: "a:b", Step: 10, Tags: []string{"k"}, Metrics: []string{"v"}, Type: timeseries.Gauge}
	filled := new(memory.Driver)
	for _, tag := range []string{"x", "y"} {
		if err := filled.Append(ctx, []timeseries.Point{{Schema: schema, Time: 10, Tags: []string{tag}, Values: []float64{1}}}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(driver timeseries.Driver, name string) (n int, err error) {
		d := NewDrivers([]Target{{Name: "one", Driver: driver}}, name, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
		for _, err := range d.Samples(ctx, timeseries.SampleQuery{Schema: schema, Through: 20}) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	if n, err := read(filled, "one"); n != 2 || err != nil {
		t.Errorf("%d series, %v", n, err)
	}
	if _, err := read(filled, ""); !errors.Is(err, errNothingToRead) {
		t.Errorf("got %v", err)
	}
	if _, err := read(noReader{filled}, "one"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if _, err := read(panickingReader{filled}, "one"); err == nil || !strings.Contains(err.Error(), "panicked in samples: broken") {
		t.Errorf("got %v", err)
	}
	// A panic of the caller is the caller's.
	func() {
		defer func() {
			if recover() != "mine" {
				t.Error("it was caught")
			}
		}()
		d := NewDrivers([]Target{{Name: "one", Driver: filled}}, "one", telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
		for range d.Samples(ctx, timeseries.SampleQuery{Schema: schema, Through: 20}) {
			panic("mine")
		}
	}()
}
