package daemon

import (
	"time"

	"github.com/weirhq/weir/internal/script"
)

// killAfter is added to twice the time of a call before a process is killed whose call waits for something outside: what
// it waits for may have a limit of its own.
const killAfter = 10 * time.Second

// callBudget is the budget of a script whose calls may take so long, with so many bytes of memory. The script
// half raises the error in a call that takes longer; the process is killed when that is not possible.
func callBudget(call time.Duration, memory int64) script.Budget {
	b := script.DefaultBudget()
	b.Busy, b.Hard, b.Memory = 2*call, 2*call+killAfter, memory
	return b
}
