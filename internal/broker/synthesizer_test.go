package broker

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/event"
)

func openSynthesizer(t testing.TB, path string, c *Cache) *Synthesizer {
	t.Helper()
	s, err := OpenSynthesizer(path, c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// made returns what a synthesizer makes of events, a line each: the type and the
// members that are set.
func made(t testing.TB, s *Synthesizer, events ...event.Event) []string {
	t.Helper()
	all, err := s.Append(nil, events)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, e := range all {
		if e.Source != 3 {
			t.Errorf("%v has source %d", e.Type, e.Source)
		}
		r, err := event.Decode(e)
		if err != nil {
			t.Fatal(err)
		}
		line := r.Descriptor.Name
		if e.Type.Category() == 3 {
			for i, f := range r.Descriptor.Fields {
				switch v := r.Values[i]; f.Kind {
				case event.String:
					line += fmt.Sprintf(" %s=%s", f.Name, v.Text())
				case event.Double:
					line += fmt.Sprintf(" %s=%v", f.Name, v.Float())
				default:
					line += fmt.Sprintf(" %s=%d", f.Name, v.Int())
				}
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func TestSynthesizer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "numbers")
	c := newCache(t)
	update(t, c, pbService, "host_id", 1, "service_id", 2, "description", "s", "enabled", true, "check_interval", 5)
	s := openSynthesizer(t, path, c)
	check := func(got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	pb := makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", 2, "checked", true, "last_check", 1000, "state", 2, "last_hard_state", 1,
		"perfdata", "rta=0.8ms c[in]=1e3;;;0 'x y'=nan")
	check(made(t, s, pb),
		"ServiceStatus",
		"IndexMapping index_id=1 host_id=1 service_id=2",
		"Status index_id=1 interval=300 rrd_len=15552000 time=1000 state=1 host_id=1 service_id=2",
		"MetricMapping index_id=1 metric_id=1",
		"Metric metric_id=1 rrd_len=15552000 interval=300 value_type=0 time=1000 value=0.8 name=rta host_id=1 service_id=2",
		"MetricMapping index_id=1 metric_id=2",
		"Metric metric_id=2 rrd_len=15552000 interval=300 value_type=1 time=1000 value=1000 name=in host_id=1 service_id=2",
		"MetricMapping index_id=1 metric_id=3",
		"Metric metric_id=3 rrd_len=15552000 interval=300 value_type=0 time=1000 value=NaN name=x y host_id=1 service_id=2",
	)
	// Mappings come at first sight only; an external command changed the interval.
	update(t, c, pbAdaptiveService, "host_id", 1, "service_id", 2, "check_interval", 1)
	pb = makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", 2, "checked", true, "last_check", 1060, "perfdata", "in=0")
	check(made(t, s, pb),
		"ServiceStatus",
		"Status index_id=1 interval=60 rrd_len=15552000 time=1060 state=0 host_id=1 service_id=2",
		"Metric metric_id=2 rrd_len=15552000 interval=60 value_type=0 time=1060 value=0 name=in host_id=1 service_id=2",
	)
	// Legacy statuses bring their interval, and get legacy events.
	legacy := makeEvent(t, legacyServiceStatus, "host_id", 1, "service_id", 3, "checked", true, "last_check", 1000, "last_hard_state", 3, "check_interval", 0.5,
		"perfdata", "d[out]=0.0000001;1;2;0;inf")
	check(made(t, s, legacy),
		"service_status",
		"index_mapping index_id=2 host_id=1 service_id=3",
		"status ctime=1000 index_id=2 interval=30 rrd_len=15552000 state=3 is_for_rebuild=0",
		"metric_mapping index_id=2 metric_id=4",
		"metric ctime=1000 interval=30 metric_id=4 name=out rrd_len=15552000 value=1e-07 value_type=2 is_for_rebuild=0 host_id=1 service_id=3",
	)
	// Without a check nothing is made, nor of other events.
	check(made(t, s,
		makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", 2, "perfdata", "new=1"),
		makeEvent(t, pbHostStatus, "host_id", 1, "checked", true, "perfdata", "new=1"),
		makeEvent(t, pbServiceStatus, "host_id", 1, "checked", true, "perfdata", "new=1"),
		makeEvent(t, pbHost, "host_id", 1)),
		"ServiceStatus", "HostStatus", "ServiceStatus", "Host")

	// After a restart the numbers are the same, and mappings are announced again,
	// for connectors that are new.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSynthesizer(t, path, newCache(t))
	pb = makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", 3, "checked", true, "last_check", 2000, "perfdata", "fresh=1 out=2")
	check(made(t, s, pb),
		"ServiceStatus",
		"IndexMapping index_id=2 host_id=1 service_id=3",
		"Status index_id=2 interval=0 rrd_len=15552000 time=2000 state=0 host_id=1 service_id=3",
		"MetricMapping index_id=2 metric_id=5",
		"Metric metric_id=5 rrd_len=15552000 interval=0 value_type=0 time=2000 value=1 name=fresh host_id=1 service_id=3",
		"MetricMapping index_id=2 metric_id=4",
		"Metric metric_id=4 rrd_len=15552000 interval=0 value_type=0 time=2000 value=2 name=out host_id=1 service_id=3",
	)
	// Events that could not be handed on are made again in full.
	other := makeEvent(t, pbServiceStatus, "host_id", 4, "service_id", 4, "checked", true, "last_check", 2000, "perfdata", "a=1")
	first := made(t, s, other)
	s.Undo()
	check(made(t, s, other), first...)
	if len(first) != 5 || len(made(t, s, other)) != 3 {
		t.Errorf("events of the first status: %v", first)
	}
}

// Numbers that could not be written are not handed out, and are not lost either.
func TestSynthesizerDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "numbers")
	s := openSynthesizer(t, path, newCache(t))
	status := makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", 2, "checked", true, "perfdata", "a=1")
	good := s.numbers.file
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	s.numbers.file = full
	before := []event.Event{{Type: 1}}
	all, err := s.Append(before, []event.Event{status})
	if err == nil || !strings.Contains(err.Error(), "cannot write the numbers of indexes and metrics") || len(all) != 1 {
		t.Errorf("%d events, %v", len(all), err)
	}
	s.numbers.file = good
	first := made(t, s, status)
	if len(first) != 5 {
		t.Errorf("events: %v", first)
	}
	s.Close()
	if diff := cmp.Diff(first, made(t, openSynthesizer(t, path, newCache(t)), status)); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

// A number is never given twice, whatever part of the file is lost.
func TestSynthesizerDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "numbers")
	s := openSynthesizer(t, path, newCache(t))
	labels := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "label%d=1 ", i)
		}
		return b.String()
	}
	used := map[string]bool{}
	for i := range 20 {
		for _, line := range made(t, s, makeEvent(t, pbServiceStatus, "host_id", 1, "service_id", i+1, "checked", true, "perfdata", labels(30))) {
			used[line] = true
		}
	}
	s.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{5, len(whole) / 2, len(whole) - 1} {
		damaged := append([]byte{}, whole...)
		damaged[at] ^= 1
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		s, err := OpenSynthesizer(path, newCache(t), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), "is damaged") {
			t.Errorf("log: %s", log.String())
		}
		index, metric := map[uint64]pair{}, map[uint64]string{}
		all, err := s.Append(nil, []event.Event{makeEvent(t, pbServiceStatus, "host_id", 2, "service_id", 1, "checked", true, "perfdata", labels(30))})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			switch e.Type {
			case pbIndexMapping:
				r, _ := event.Decode(e)
				if id := r.Get("index_id").Int(); id <= 20 {
					t.Errorf("byte %d: index %d is given again", at, id)
				}
			case pbMetricMapping:
				r, _ := event.Decode(e)
				if id := r.Get("metric_id").Int(); id <= 600 {
					t.Errorf("byte %d: metric %d is given again", at, id)
				}
			}
		}
		s.Close()
		// The new numbers can be read behind the damage.
		s = openSynthesizer(t, path, newCache(t))
		for of, x := range s.numbers.indexes {
			if old, twice := index[x.id]; twice {
				t.Errorf("index %d belongs to %v and %v", x.id, of, old)
			}
			index[x.id] = of
			for _, m := range x.metrics {
				if old, twice := metric[m.id]; twice {
					t.Errorf("metric %d is %q and %q", m.id, m.label, old)
				}
				metric[m.id] = m.label
			}
		}
		if x := s.numbers.indexes[pair{2, 1}]; x == nil || len(x.metrics) != 30 {
			t.Errorf("byte %d: the new index was not kept", at)
		}
		s.Close()
	}
}

// Payloads handed out stay as they are when more are made.
func TestSynthesizerPayloads(t *testing.T) {
	s := openSynthesizer(t, filepath.Join(t.TempDir(), "numbers"), newCache(t))
	var all []event.Event
	var want []string
	for i := range 300 {
		for _, typ := range []event.Type{pbServiceStatus, legacyServiceStatus} {
			status := makeEvent(t, typ, "host_id", 1, "service_id", i%7+1, "checked", true, "perfdata", fmt.Sprintf("%s%d=%d", strings.Repeat("l", 200), i, i))
			n := len(all)
			var err error
			if all, err = s.Append(all, []event.Event{status}); err != nil {
				t.Fatal(err)
			}
			for _, e := range all[n:] {
				want = append(want, string(e.Payload))
			}
		}
	}
	for i, e := range all {
		if string(e.Payload) != want[i] {
			t.Fatalf("event %d has changed", i)
		}
		if _, err := event.Decode(e); err != nil {
			t.Fatal(err)
		}
	}
}

// The largest values a metric can have fit.
func TestMakerBounds(t *testing.T) {
	m := maker{legacy: true, of: pair{math.MaxUint32, math.MaxUint32}, time: math.MaxInt64, interval: math.MaxInt32}
	for _, legacy := range []bool{true, false} {
		m.legacy = legacy
		for range 100 {
			e := m.metric(math.MaxUint32, &Metric{Label: []byte(strings.Repeat("é", 127)), Value: -math.MaxFloat64})
			r, err := event.Decode(e)
			if err != nil || r.Get("value").Float() != -math.MaxFloat64 {
				t.Fatalf("%v, %v", r, err)
			}
		}
	}
}
