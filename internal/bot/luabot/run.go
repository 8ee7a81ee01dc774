package luabot

import (
	"encoding/json"
	"log/slog"
	"slices"
)

// Done is a job that was done once: what jobs() returned for it, what it sent, and what it raised.
type Done struct {
	Job       string          `json:"job"`
	Intervals []float64       `json:"intervals"` // seconds
	Params    json.RawMessage `json:"params"`
	Values    []value         `json:"values"`
	Error     string          `json:"error,omitempty"` // with its place
}

// RunOutput gets what a run says.
type RunOutput interface {
	Done(Done) error // an error ends the run
	Print(line string)
}

// Run runs a script in this process: it asks for its jobs once and does each of them once, in their order and
// with all their intervals. devices, each a collector.JobConfig in JSON, are what fetch_job_configs returns.
func Run(setup Setup, devices []json.RawMessage, log *slog.Logger, out RunOutput) error {
	s, err := newScript(setup, out.Print, log)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.load(); err != nil {
		return err
	}
	all, err := s.jobs(devices)
	if err != nil {
		return err
	}
	for _, j := range all {
		q := performRequest{ID: j.ID, Params: j.Params, Affecting: []int64{}}
		for _, seconds := range j.Intervals {
			q.Affecting = append(q.Affecting, int64(seconds))
		}
		slices.Sort(q.Affecting)
		values, err := s.perform(&q)
		done := Done{Job: j.ID, Intervals: j.Intervals, Params: j.Params, Values: values}
		if values == nil {
			done.Values = []value{}
		}
		if err != nil {
			done.Error = err.Error()
		}
		if err := out.Done(done); err != nil {
			return err
		}
		if s.exited {
			return err // nothing can be called any more
		}
	}
	return nil
}
