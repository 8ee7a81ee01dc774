package script

import (
	"sync"
	"sync/atomic"
	"time"
)

// State is what a supervisor does with its script.
type State string

// The states of a script.
const (
	Starting State = "starting" // the process runs, the script has not loaded
	Running  State = "running"
	Waiting  State = "waiting" // for the next start after an exit
	Stopped  State = "stopped"
)

// Stats are the figures of one script, since its supervisor started. A call is
// one of the host's, such as a frame, and as fine as its host tells.
type Stats struct {
	Name  string `json:"name"`
	API   string `json:"api"`
	Path  string `json:"path"`
	State State  `json:"state"`

	PID      int       `json:"pid"` // 0 without a process
	Since    time.Time `json:"since"`
	Restarts int64     `json:"restarts"`
	Reloads  int64     `json:"reloads"`

	LastExit  *Event `json:"last_exit,omitempty"`  // that nobody asked for
	LastError *Event `json:"last_error,omitempty"` // of the script

	Calls       int64   `json:"calls"`
	Errors      int64   `json:"errors"`
	Overtime    int64   `json:"overtime"` // errors of calls that were stopped because they took too long
	BusySeconds float64 `json:"busy_seconds"`
	MemoryBytes int64   `json:"memory_bytes"` // without what is mapped from files

	FramesIn  int64 `json:"frames_in"` // to the script
	FramesOut int64 `json:"frames_out"`
	BytesIn   int64 `json:"bytes_in"`
	BytesOut  int64 `json:"bytes_out"`
	Held      int   `json:"held"` // frames that wait or are being worked on

	Quarantined    int    `json:"quarantined"` // items that were set aside because they ended the script
	QuarantineFile string `json:"quarantine_file,omitempty"`

	Lines  int64 `json:"lines"`  // it printed
	Unsaid int64 `json:"unsaid"` // of them and of those it logged, left out of the log
}

// Event is something that happened to a script.
type Event struct {
	Time     time.Time `json:"time"`
	Message  string    `json:"message"`
	Position string    `json:"position,omitempty"` // file:line
}

// counters are what Stats is made from; they outlive processes.
type counters struct {
	restarts, reloads                      atomic.Int64
	framesIn, framesOut, bytesIn, bytesOut atomic.Int64
	lines, unsaid                          atomic.Int64

	mu    sync.Mutex
	ended pong                // the sum of processes that ended
	now   map[*Process]vitals // of those that run: two during a reload
	error *Event
	exit  *Event
}

// vitals are what is known of one process.
type vitals struct {
	pong   pong
	memory int64
}

// running notes something about a process.
func (c *counters) running(p *Process, set func(*vitals)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.now[p]
	set(&v)
	if c.now == nil {
		c.now = make(map[*Process]vitals)
	}
	c.now[p] = v
}

// end notes the last that a process said.
func (c *counters) end(p *Process, q pong) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended.Calls += q.Calls
	c.ended.Errors += q.Errors
	c.ended.Overtime += q.Overtime
	c.ended.Busy += q.Busy
	delete(c.now, p)
}

func (c *counters) noteError(message, position string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.error = &Event{time.Now(), message, position}
}

func (c *counters) noteExit(e *Exit) {
	position := e.Position
	if e.Failure != nil {
		position = e.Failure.Position()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exit = &Event{time.Now(), e.Error(), position}
}

func (c *counters) lastError() Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.error == nil {
		return Event{}
	}
	return *c.error
}

// fill sets the figures in s.
func (c *counters) fill(s *Stats) {
	s.Restarts, s.Reloads = c.restarts.Load(), c.reloads.Load()
	s.FramesIn, s.FramesOut, s.BytesIn, s.BytesOut = c.framesIn.Load(), c.framesOut.Load(), c.bytesIn.Load(), c.bytesOut.Load()
	s.Lines, s.Unsaid = c.lines.Load(), c.unsaid.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	calls, raised, overtime, busy := c.ended.Calls, c.ended.Errors, c.ended.Overtime, c.ended.Busy
	for _, v := range c.now {
		calls += v.pong.Calls
		raised += v.pong.Errors
		overtime += v.pong.Overtime
		busy += v.pong.Busy
		s.MemoryBytes += v.memory
	}
	s.Calls, s.Errors, s.Overtime, s.BusySeconds = int64(calls), int64(raised), int64(overtime), time.Duration(busy).Seconds()
	s.LastExit, s.LastError = c.exit, c.error
}
