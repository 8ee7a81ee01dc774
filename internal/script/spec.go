package script

import (
	"fmt"
	"strings"
	"time"
)

// Spec says what to run.
type Spec struct {
	Name  string // of the script, unique in a Registry
	API   string // the contract, as in RegisterAPI
	Path  string // of the script's file, for people: the host learns it from Setup
	Setup []byte // what Host.Setup gets

	// Command is the program of the child with its arguments, for hosts that are
	// not this binary. Empty means this binary as "script-host API NAME".
	Command []string
	Env     []string // "KEY=VALUE", added to the daemon's environment
	Dir     string   // working directory, "" for the daemon's

	Budget Budget

	// LoadOnce is for a script that is not tried again when it could not be loaded: the handler, which is told, says so in the log
	// and calls Stop or Reload.
	LoadOnce bool
	// LoadFirst is LoadOnce until the script has loaded once: later it is tried again.
	LoadFirst bool

	// Output, when it is set, gets what the child prints and what it logs under a kind of its own, instead of the log: every line, without a limit.
	// stream is "stdout" or "stderr", or "log" with the kind. It is called from several goroutines; the child waits for it.
	Output func(stream, kind, text string)

	// Quarantine is where the contract sets items of this script aside, for Stats; nil for nowhere.
	Quarantine *Quarantine
}

// Budget is what a script may use; then its process is ended. A host that can raises an error in a call before that. A zero limit is none.
type Budget struct {
	Hard   time.Duration // for a call, for loading, and for any sign of life; then the process is killed
	Busy   time.Duration // for a call that computes all the time; then the process is killed. Loading does not count
	Memory int64         // resident bytes that are the process's own, not mapped from files; then it is killed
	Errors int           // of the script in a minute; then the process is restarted

	// Wait before a restart: the first one, doubled each time up to the second
	// one, and from the start again after a minute without an exit; up to the
	// second one at once when the call it ended in has computed for long.
	RestartMin, RestartMax time.Duration
}

// DefaultBudget is a budget that a working script does not notice.
func DefaultBudget() Budget {
	return Budget{
		Hard: time.Minute, Memory: 1 << 30, Errors: 1000,
		RestartMin: time.Second, RestartMax: time.Minute,
	}
}

// Error is an error in a script.
type Error struct {
	Message   string `json:"message"`
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Traceback string `json:"traceback,omitempty"` // lines
	Overtime  bool   `json:"overtime,omitempty"`  // raised by the host, because the call took too long
}

// Error is the message with the place in front, unless it begins with it.
func (e *Error) Error() string {
	if at := e.Position(); at != "" && !strings.HasPrefix(e.Message, at) {
		return at + ": " + e.Message
	}
	return e.Message
}

// Position is file:line, or "" where that is not known.
func (e *Error) Position() string {
	if e.File == "" {
		return ""
	}
	if e.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d", e.File, e.Line)
}
