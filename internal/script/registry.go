package script

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/internal/telemetry"
)

// restartPeriod is the time between restarts of scripts that end soon after each start, all of them together.
const restartPeriod = time.Second

// Registry knows the supervisors that run. It serves /api/v1/scripts and exports
// their figures to /metrics.
type Registry struct {
	mu          sync.Mutex
	supervisors []*Supervisor // by name
	free        time.Time     // when the next one may have its turn
	governs     bool          // hold runs
	wanted      bool          // since its last turn
}

// NewRegistry returns a Registry that exports to metrics. One is enough for a daemon.
func NewRegistry(metrics *telemetry.Registry) *Registry {
	r := new(Registry)
	metrics.Register(collector{r})
	return r
}

func compareNames(s *Supervisor, name string) int { return strings.Compare(s.name, name) }

func (r *Registry) add(s *Supervisor) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, taken := slices.BinarySearchFunc(r.supervisors, s.name, compareNames)
	if taken {
		return fmt.Errorf("cannot start script %q: one of this name runs", s.name)
	}
	r.supervisors = slices.Insert(r.supervisors, i, s)
	return nil
}

func (r *Registry) remove(s *Supervisor) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.supervisors = slices.DeleteFunc(r.supervisors, func(other *Supervisor) bool { return other == s })
}

// turn returns how long a script that ends soon after each start waits until it is its turn to start again. To start a process
// costs a tenth of a second of a processor: without turns, many broken scripts take all of them from the others.
func (r *Registry) turn() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	begin := now
	if r.free.After(now) {
		begin = r.free
	}
	r.free = begin.Add(restartPeriod)
	return begin.Sub(now)
}

// Stats are the figures of every script, by name.
func (r *Registry) Stats() []Stats {
	r.mu.Lock()
	supervisors := slices.Clone(r.supervisors)
	r.mu.Unlock()
	all := make([]Stats, 0, len(supervisors))
	for _, s := range supervisors {
		all = append(all, s.Stats())
	}
	return all
}

// ServeHTTP answers with {"scripts": [Stats, ...]}.
func (r *Registry) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(struct { // fails when the caller went away
		Scripts []Stats `json:"scripts"`
	}{r.Stats()})
}

// collector exports the figures.
type collector struct{ registry *Registry }

// figure is one of a script's figures.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(Stats) float64
}

func newFigure(name, help string, kind prometheus.ValueType, read func(Stats) float64) figure {
	return figure{prometheus.NewDesc("weir_script_"+name, help, []string{"script", "api"}, nil), kind, read}
}

const (
	gauge   = prometheus.GaugeValue
	counter = prometheus.CounterValue
)

var figures = []figure{
	newFigure("up", "1 while the script runs.", gauge, func(s Stats) float64 {
		if s.State == Running {
			return 1
		}
		return 0
	}),
	newFigure("restarts_total", "Restarts after an exit that nobody asked for.", counter, func(s Stats) float64 { return float64(s.Restarts) }),
	newFigure("reloads_total", "Times a new version took over.", counter, func(s Stats) float64 { return float64(s.Reloads) }),
	newFigure("calls_total", "Calls into the script's host.", counter, func(s Stats) float64 { return float64(s.Calls) }),
	newFigure("errors_total", "Errors the script raised.", counter, func(s Stats) float64 { return float64(s.Errors) }),
	newFigure("overtime_total", "Calls that were stopped because they took too long.", counter, func(s Stats) float64 { return float64(s.Overtime) }),
	newFigure("busy_seconds_total", "Time in calls.", counter, func(s Stats) float64 { return s.BusySeconds }),
	newFigure("memory_bytes", "Resident memory of the script's process, without what is mapped from files.", gauge, func(s Stats) float64 { return float64(s.MemoryBytes) }),
	newFigure("frames_in_total", "Frames sent to the script.", counter, func(s Stats) float64 { return float64(s.FramesIn) }),
	newFigure("frames_out_total", "Frames the script sent.", counter, func(s Stats) float64 { return float64(s.FramesOut) }),
	newFigure("bytes_in_total", "Bytes sent to the script.", counter, func(s Stats) float64 { return float64(s.BytesIn) }),
	newFigure("bytes_out_total", "Bytes the script sent.", counter, func(s Stats) float64 { return float64(s.BytesOut) }),
	newFigure("held", "Frames that wait for the script or are being worked on.", gauge, func(s Stats) float64 { return float64(s.Held) }),
	newFigure("quarantined", "Items that were set aside because they ended the script.", gauge, func(s Stats) float64 { return float64(s.Quarantined) }),
	newFigure("lines_total", "Lines the script printed.", counter, func(s Stats) float64 { return float64(s.Lines) }),
	newFigure("unsaid_total", "Lines of the script that were left out of the log.", counter, func(s Stats) float64 { return float64(s.Unsaid) }),
}

func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range figures {
		ch <- f.desc
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.registry.Stats() {
		for _, f := range figures {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.read(s), s.Name, s.API)
		}
	}
}
