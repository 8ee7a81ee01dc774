package backend_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/weirhq/weir/backend"
)

// alarm is a backend that speaks up when a counter grows too fast.
type alarm struct {
	limit float64 // per second
	log   *slog.Logger
}

func (a *alarm) Name() string { return "alarm" }

func (a *alarm) Init(_ context.Context, env backend.Environment) error {
	a.log = env.Log
	return nil
}

func (a *alarm) Flush(_ context.Context, f *backend.Flush) error {
	for _, c := range f.Counters {
		if c.Rate > a.limit {
			fmt.Printf("%d: %s grows by %g per second\n", f.Timestamp, c.Name, c.Rate)
		}
	}
	return nil
}

// A backend is any type with Name, Init and Flush. The server calls Init once
// and Flush at every interval.
func Example() {
	var b backend.Backend = &alarm{limit: 100}
	env := backend.Environment{Startup: 1700000000, Interval: 10, Prefix: "statsd", Log: slog.New(slog.DiscardHandler)}
	if err := b.Init(context.Background(), env); err != nil {
		fmt.Println(err)
		return
	}
	flush := &backend.Flush{Timestamp: 1700000010, Counters: []backend.Counter{
		{Name: "logins", Value: 50, Rate: 5}, {Name: "errors", Value: 2500, Rate: 250},
	}}
	if err := b.Flush(context.Background(), flush); err != nil {
		fmt.Println(err)
	}
	// Output: 1700000010: errors grows by 250 per second
}
