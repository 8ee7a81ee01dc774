package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/weirhq/weir/internal/broker"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

// installation is what is known of the pollers of one central server: numbers of
// hosts, services and pollers mean something only inside it (specification, section
// 6). Its methods are called by one goroutine at a time, except for stats.
type installation struct {
	name string // "" for the only one

	cache       *broker.Cache
	file        *broker.File
	synthesizer *broker.Synthesizer
	points      *broker.Points
	room        []event.Event
	figures     atomic.Pointer[broker.Stats]
}

func newInstallation(name string, reg *telemetry.Registry, log *slog.Logger) *installation {
	i := &installation{name: name, cache: broker.NewCache(log)}
	i.cache.WithoutStatuses() // synthesizer and points use none
	i.points = broker.NewPoints(i.cache, pointsStep, reg)
	if name != "" {
		i.points.Prefix(name + "/")
	}
	i.note()
	return i
}

// open reads what is in the directory.
func (i *installation) open(dir string, forget bool, log *slog.Logger) error {
	name := func(kind string) string {
		if i.name != "" {
			kind += "@" + i.name
		}
		return filepath.Join(dir, kind)
	}
	file, err := broker.OpenFile(name("cache"), i.cache, log)
	if err != nil {
		return err
	}
	synthesizer, err := broker.OpenSynthesizer(name("numbers"), i.cache, log)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if forget {
		i.cache.ForgetDeleted()
	}
	i.file, i.synthesizer = file, synthesizer
	i.note()
	return nil
}

func (i *installation) close() error {
	if i.file == nil {
		return nil
	}
	return errors.Join(i.synthesizer.Close(), i.file.Close())
}

// take learns from events, makes that durable, and returns them with the storage
// events that follow from them, if asked for, until the next call.
func (i *installation) take(list []event.Event, synthesize bool) ([]event.Event, error) {
	for k := range list {
		i.cache.Update(list[k])
	}
	i.note()
	if err := i.file.Flush(); err != nil {
		return nil, err
	}
	if !synthesize {
		return list, nil
	}
	all, err := i.synthesizer.Append(i.room[:0], list)
	if err != nil {
		return nil, err
	}
	i.room = all[:0]
	return all, nil
}

// stamp marks the events as those of the installation, for the connectors.
func (i *installation) stamp(list []event.Event) {
	number := broker.InstallationNumber(i.name)
	for k := range list {
		list[k].Destination = number
	}
}

// save writes the cache, for a connector that has none.
func (i *installation) save(w io.Writer) error { return i.cache.Save(w) }

func (i *installation) note() {
	s := i.cache.Stats()
	if last := i.figures.Load(); last == nil || *last != s {
		i.figures.Store(&s)
	}
}

func (i *installation) stats() broker.Stats { return *i.figures.Load() }

// keepPoints stores the series of statuses, and counts them. Events do not wait for it when it
// cannot be done: the stream has them.
func (e *events) keepPoints(ctx context.Context, i *installation, list []event.Event) {
	counted := e.feeder != nil && e.feeder.FeedsPoints()
	if e.driver == nil && !counted {
		return
	}
	points := i.points.Of(list)
	if len(points) == 0 {
		return
	}
	if counted {
		e.feeder.Points(points)
	}
	if e.driver == nil {
		return
	}
	if err := e.driver.Append(ctx, points); err != nil {
		e.limited.Warn("cannot store points of statuses", "points", len(points), "error", err)
	}
}
