package collector

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestTiming has the worked examples of section 1.4: registration, intervals, start and
// the runs that follow as offset in seconds from 1700000000 with what brought them about.
func TestTiming(t *testing.T) {
	const base = 1700000000
	for _, c := range []struct {
		at        float64 // seconds after base
		intervals []int64
		start     int64 // Unix seconds, -1 for none
		want      string
	}{
		{0.70, []int64{60}, -1, "60{60} 120{60} 180{60}"},
		{0.25, []int64{4, 6}, -1, "4{4} 6{6} 8{4} 12{4 6} 16{4} 18{6} 20{4}"},
		{0.25, []int64{10, 15, 30}, 1699999990, "5{15} 10{10} 20{10 15 30} 30{10} 35{15} 40{10} 50{10 15 30}"},
		{0.25, []int64{3600}, 50, "2850{3600} 6450{3600}"},
		{0.25, []int64{60}, base - 60, "60{60}"},
		{0.25, []int64{900}, base + 15 - 900, "15{900}"},
		{0, []int64{60}, -1, "60{60}"}, // strictly after the registration
	} {
		now := int64(base)*second + int64(c.at*1e9)
		timing := timing{start: now / second * second, intervals: c.intervals}
		if c.start >= 0 {
			timing.start = c.start * second
		}
		var got []string
		for range strings.Count(c.want, "{") {
			due := timing.next(now)
			got = append(got, fmt.Sprintf("%d{%s}", due/second-base, strings.Trim(fmt.Sprint(timing.affecting(nil, due)), "[]")))
			now = due
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("registered at +%gs with %v from %d: got %s, want %s", c.at, c.intervals, c.start, got, c.want)
		}
	}
}

// TestTimingProperties compares the formulas with trying every second.
func TestTimingProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		timing := timing{
			start:     rapid.Int64Range(-100, 100).Draw(t, "start") * second,
			intervals: rapid.SliceOfNDistinct(rapid.Int64Range(1, 20), 1, 4, rapid.ID).Draw(t, "intervals"),
		}
		slices.Sort(timing.intervals)
		now := rapid.Int64Range(-200e9, 200e9).Draw(t, "now")
		due := func(at int64) bool { return len(timing.affecting(nil, at)) > 0 }
		next := (floor(now, second) + 1) * second
		for !due(next) {
			next += second
		}
		last := floor(now, second) * second
		for !due(last) {
			last -= second
		}
		if got := timing.next(now); got != next {
			t.Errorf("next after %d is %d, want %d", now, got, next)
		}
		if got := timing.last(now); got != last {
			t.Errorf("last at %d is %d, want %d", now, got, last)
		}
	})
}

func TestFingerprint(t *testing.T) {
	of := func(data any) string {
		f, err := fingerprint(data)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	type m = map[string]any
	same := [][2]any{
		{m{"a": 1, "b": []int{1, 2}}, m{"b": []float64{1, 2}, "a": 1.0}},
		{JobConfig{Details: []byte(`{"x":1.0,"y":"2"}`)}, JobConfig{Details: []byte(`{"y":"2", "x":1}`)}},
	}
	for _, pair := range same {
		if of(pair[0]) != of(pair[1]) {
			t.Errorf("%v and %v should be equal", pair[0], pair[1])
		}
	}
	different := [][2]any{
		{[]int{1, 2}, []int{2, 1}},
		{m{"a": "1"}, m{"a": 1}},
		{m{"a": nil}, m{}},
		{int64(9007199254740993), int64(9007199254740992)},
		{JobConfig{Sensors: []SensorConfig{{Interval: time.Second}}}, JobConfig{Sensors: []SensorConfig{{}}}},
	}
	for _, pair := range different {
		if of(pair[0]) == of(pair[1]) {
			t.Errorf("%v and %v should be different", pair[0], pair[1])
		}
	}
	if _, err := fingerprint(func() {}); err == nil {
		t.Error("a function can be compared")
	}
}

func TestSensorConfig(t *testing.T) {
	for _, text := range []string{`{"sensor_id":40,"interval":1.5,"sensor_details":{"a":1}}`, `{"sensor_id":40,"interval":null,"sensor_details":null}`} {
		var s SensorConfig
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if again, err := json.Marshal(s); err != nil || string(again) != text {
			t.Errorf("%s, %v, want %s", again, err, text)
		}
	}
}
