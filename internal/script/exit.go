package script

import (
	"fmt"
	"strings"
	"time"
)

// PositionMark begins a line on a child's standard error that says, with the
// last thing it can do, which file:line it died at. The line is not logged.
const PositionMark = "weir-at: "

// Exit is the end of a script's process.
type Exit struct {
	Name     string // of the script
	Reason   string // such as "exited with code 3" or "killed: a call took longer than 5s"
	Call     string // the kind of call that ran, "" when none is known to have run
	Position string // file:line the script was at last, or where the function begins that ran; the file alone when neither is known
	Output   string // the line of its last output that says most
	Code     int    // of the process, -1 with a signal
	Signal   string // that ended it, such as "SIGSEGV"
	Failure  *Error // why the script could not load, or the host could not go on; else nil
	Asked    bool   // the supervisor stopped it in order: Stop or Reload
	Errors   bool   // it was killed because it raised too many errors: no single frame is to blame

	// Computed is for how long the call it ended in had a processor, as far as that was seen; 0 when none ran.
	Computed time.Duration

	// Working is the frame that was being worked on, nil when none was; Waiting are
	// those that were sent and not begun. Nobody has them any more. Requests are
	// not among them: their callers know.
	Working *Frame
	Waiting []Frame
}

func (e *Exit) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "script %q %s", e.Name, e.Reason)
	switch {
	case e.Call != "" && e.Position != "":
		fmt.Fprintf(&b, " in %s at %s", e.Call, e.Position)
	case e.Call != "":
		fmt.Fprintf(&b, " in %s", e.Call)
	case e.Position != "":
		fmt.Fprintf(&b, " at %s", e.Position)
	}
	switch {
	case e.Failure != nil:
		fmt.Fprintf(&b, ": %v", e.Failure)
	case e.Output != "":
		fmt.Fprintf(&b, ": %s", e.Output)
	}
	return b.String()
}
