package luabot

import (
	"encoding/json"
	"time"

	"github.com/weirhq/weir/internal/script"
)

// API is the name of the contract.
const API = "collector"

// Requests to the script half, with and answered by JSON.
const (
	kindJobs    byte = script.FirstKind     // jobsRequest, answered by jobsAnswer
	kindPerform byte = script.FirstKind + 1 // performRequest, answered by performAnswer
)

// Setup is what the script half is told, as JSON.
type Setup struct {
	Name    string         `json:"name"`
	Script  string         `json:"script"`  // path of the file
	Options map[string]any `json:"options"` // the global table options
	Account int64          `json:"account"` // whose values they are unless the script says it

	Interval time.Duration `json:"interval"` // of jobs that name none
	Call     time.Duration `json:"call"`     // a call of the script may take, 0 for ever
	Memory   int64         `json:"memory"`   // bytes of the Lua state, 0 for no limit
}

type jobsRequest struct {
	Devices []json.RawMessage `json:"devices"` // each a collector.JobConfig
}

type jobsAnswer struct {
	Jobs []job `json:"jobs"`
}

// job is one that jobs() returned.
type job struct {
	ID        string          `json:"id"`
	Intervals []float64       `json:"intervals"`       // seconds
	Start     float64         `json:"start,omitempty"` // Unix time, 0 for none
	Params    json.RawMessage `json:"params"`
}

type performRequest struct {
	ID        string          `json:"id"`
	Affecting []int64         `json:"affecting"` // seconds
	Params    json.RawMessage `json:"params"`
	Until     int64           `json:"until"` // Unix milliseconds: nobody waits for it later
}

// performAnswer has what the script sent, also when it raised an error afterwards.
type performAnswer struct {
	Values []value `json:"values"`
	Error  string  `json:"error,omitempty"` // with its place
}

// value is one that the script sent.
type value struct {
	Account int64   `json:"a"`
	Path    string  `json:"p"`
	Value   float64 `json:"v"`
	Time    float64 `json:"t,omitempty"` // Unix time, 0 for now
}
