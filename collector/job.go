package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"
)

// Job is something to be done again and again (section 1.2).
type Job struct {
	// ID tells the job from the others of its bot and stays the same from refresh
	// to refresh. A job with another ID is another job, whose time begins anew.
	ID string

	// Intervals are how often the job is done. Each is cut to whole seconds, at
	// least one. When several meet in one second the job is done once.
	Intervals []time.Duration

	// Start aligns the job: it is done at Start plus multiples of each interval. The
	// zero time, and one in the future, stand for the second in which the Collector
	// first met the job.
	Start time.Time

	// Data is what the job depends on. It must be possible to encode it as JSON.
	// When it is not what it was at the last refresh, the job is replaced and its time
	// begins anew; when it is the same, the job goes on as it was first given.
	Data any

	// Run does the job. ctx ends at the deadline of the run and when the Collector
	// stops. It is called in a goroutine of its own; a panic is an error.
	Run func(ctx context.Context, run Run) error
}

// Run is one time at which a job is done.
type Run struct {
	Due time.Time // when it should have begun; never after it did

	// Affecting are the intervals that brought it about, in ascending order.
	Affecting []time.Duration
}

// Affects reports whether interval, cut to whole seconds, is one that brought the run about.
func (r Run) Affects(interval time.Duration) bool {
	return slices.Contains(r.Affecting, interval.Truncate(time.Second))
}

// JobConfig is a device with everything a bot must know to poll it (section 2).
type JobConfig struct {
	AccountID  int64           `json:"account_id"`
	EntityID   int64           `json:"entity_id"`
	Name       string          `json:"name"`
	EntityType string          `json:"entity_type"`
	Parent     *int64          `json:"parent"`
	Details    json.RawMessage `json:"details"`

	CredentialDetails json.RawMessage `json:"credential_details"`
	Sensors           []SensorConfig  `json:"sensors"` // in the order in which the entity names them
}

// SensorConfig is one thing to measure of a device.
type SensorConfig struct {
	SensorID int64
	Interval time.Duration // 0 for a sensor that is not polled at intervals
	Details  json.RawMessage
}

type sensorJSON struct {
	SensorID int64           `json:"sensor_id"`
	Interval *float64        `json:"interval"` // seconds
	Details  json.RawMessage `json:"sensor_details"`
}

// MarshalJSON encodes s as section 2 shows it.
func (s SensorConfig) MarshalJSON() ([]byte, error) {
	encoded := sensorJSON{SensorID: s.SensorID, Details: s.Details}
	if s.Interval != 0 {
		seconds := s.Interval.Seconds()
		encoded.Interval = &seconds
	}
	return json.Marshal(encoded)
}

// UnmarshalJSON decodes what MarshalJSON encodes.
func (s *SensorConfig) UnmarshalJSON(data []byte) error {
	var encoded sensorJSON
	if err := json.Unmarshal(data, &encoded); err != nil {
		return err
	}
	*s = SensorConfig{SensorID: encoded.SensorID, Details: encoded.Details}
	if encoded.Interval != nil {
		s.Interval = time.Duration(*encoded.Interval * float64(time.Second))
	}
	return nil
}

// Intervals are the different intervals of all sensors of the device, in ascending
// order, without those that are not polled.
func (c *JobConfig) Intervals() []time.Duration {
	var all []time.Duration
	for _, s := range c.Sensors {
		if s.Interval != 0 {
			all = append(all, s.Interval)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Value is one measured value.
type Value struct {
	// Path says what it is: segments of letters, digits, "_" and "-", joined by
	// dots, at most 1024 bytes.
	Path  string
	Value float64   // neither NaN nor infinite
	Time  time.Time // when it was measured; the zero time is when it is sent
}

// Source knows what is to be polled.
type Source interface {
	// FetchJobConfigs yields every device that has sensors of the protocol, always in
	// the same order. An error ends the sequence, which is not complete then.
	FetchJobConfigs(ctx context.Context, protocol string) iter.Seq2[*JobConfig, error]
}

// Sink takes values.
type Sink interface {
	// SendResults takes values of an account. After nil they are not lost. It may
	// be called from any goroutine, and keeps nothing of the slice.
	SendResults(ctx context.Context, account int64, values []Value) error
}

// intervalsOf are whole seconds of a job, ascending, each once.
func intervalsOf(job *Job) ([]int64, error) {
	if len(job.Intervals) == 0 {
		return nil, errors.New("it has no intervals")
	}
	seconds := make([]int64, 0, len(job.Intervals))
	for _, interval := range job.Intervals {
		if interval < time.Second {
			return nil, fmt.Errorf("the interval %s is shorter than a second", interval)
		}
		seconds = append(seconds, int64(interval/time.Second))
	}
	slices.Sort(seconds)
	return slices.Compact(seconds), nil
}

// fingerprint is equal for data that are equal (section 1.3): the order of lists
// matters, the order of keys does not, and 1 is 1.0.
func fingerprint(data any) (string, error) {
	encoded, err := json.Marshal(data)
	if err != nil {
		return "", fmt.Errorf("its data cannot be compared: %w", err)
	}
	// What Go encodes differs only when it differs, but for text that was JSON
	// before: keys in another order, numbers in another form.
	d := json.NewDecoder(bytes.NewReader(encoded))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return "", fmt.Errorf("its data cannot be compared: %w", err)
	}
	same, err := json.Marshal(plain(tree))
	return string(same), err
}

// plain is tree with every number in one form, where that keeps its value.
func plain(tree any) any {
	switch t := tree.(type) {
	case json.Number:
		if _, err := t.Int64(); err == nil {
			return t // a float64 has fewer digits
		}
		if f, err := t.Float64(); err == nil {
			if f == float64(int64(f)) && f > -1e15 && f < 1e15 {
				return int64(f)
			}
			return f
		}
	case []any:
		for i := range t {
			t[i] = plain(t[i])
		}
	case map[string]any:
		for k := range t {
			t[k] = plain(t[k])
		}
	}
	return tree
}
