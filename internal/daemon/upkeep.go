package daemon

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/weirhq/weir/timeseries"
)

const (
	exportEvery    = 5 * time.Second
	retentionEvery = time.Hour
)

// upkeep does what a timeseries driver wants done from time to time.
type upkeep struct {
	driver timeseries.Driver
	log    *slog.Logger
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

func newUpkeep(driver timeseries.Driver, log *slog.Logger) *upkeep {
	return &upkeep{driver: driver, log: log}
}

func (u *upkeep) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	u.cancel = cancel
	u.tasks.Go(func() { u.every(ctx, exportEvery, "cannot export points", u.driver.Export) })
	u.tasks.Go(func() {
		u.every(ctx, retentionEvery, "cannot delete old points", func(ctx context.Context) error {
			return u.driver.DeleteOld(ctx, time.Now().Unix())
		})
	})
	return nil
}

// every calls f again and again; what failed is tried again the next time.
func (u *upkeep) every(ctx context.Context, period time.Duration, problem string, f func(context.Context) error) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := f(ctx); err != nil && ctx.Err() == nil {
			u.log.Error(problem, "error", err)
		}
	}
}

func (u *upkeep) stop(ctx context.Context) error {
	u.cancel()
	ended := make(chan struct{})
	go func() {
		u.tasks.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
