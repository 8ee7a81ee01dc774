// Package telemetry is how Weir accounts for itself: ledgers, which show that
// nothing is lost silently, the metrics at /metrics, and logs that do not flood.
package telemetry

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Ledger accounts for everything one component takes in:
//
//	received = passed + buffered + discarded (by reason)
//
// A component counts what it took in once, and later, for each item, exactly one
// of passed or discarded; a component that holds items says how many through
// Hold. The counting methods may be called from any goroutine and do not allocate.
type Ledger struct {
	component, unit string
	received        atomic.Int64
	passed          atomic.Int64
	held            atomic.Pointer[func() int64]

	mu        sync.Mutex
	discarded []*Discard
}

// Discard counts what was dropped for one reason.
type Discard struct {
	reason string
	n      atomic.Int64
}

// NewLedger returns a ledger of component, such as "statsd.intake", which counts
// units such as "values" or "packets".
func NewLedger(component, unit string) *Ledger { return &Ledger{component: component, unit: unit} }

// Received counts n items taken in.
func (l *Ledger) Received(n int) { l.received.Add(int64(n)) }

// Passed counts n items that went on.
func (l *Ledger) Passed(n int) { l.passed.Add(int64(n)) }

// Hold sets the function that says how many items are inside now. It is called
// by Snapshot, from any goroutine.
func (l *Ledger) Hold(now func() int64) { l.held.Store(&now) }

// Reason returns the counter of one reason for dropping, such as "bad_line".
// Take it once, when the component is made.
func (l *Ledger) Reason(reason string) *Discard {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.discarded {
		if d.reason == reason {
			return d
		}
	}
	d := &Discard{reason: reason}
	l.discarded = append(l.discarded, d)
	return d
}

// Add counts n items dropped for this reason.
func (d *Discard) Add(n int) { d.n.Add(int64(n)) }

// Count is how many items were dropped for this reason.
func (d *Discard) Count() int64 { return d.n.Load() }

// Account is a ledger at one moment.
type Account struct {
	Component string           `json:"component"`
	Unit      string           `json:"unit"`
	Received  int64            `json:"received"`
	Passed    int64            `json:"passed"`
	Buffered  int64            `json:"buffered"`
	Discarded map[string]int64 `json:"discarded"` // by reason
}

// Snapshot reads the ledger. While the component works the figures may be a few
// items apart; at rest they balance.
func (l *Ledger) Snapshot() Account {
	a := Account{Component: l.component, Unit: l.unit, Discarded: make(map[string]int64)}
	if held := l.held.Load(); held != nil {
		a.Buffered = (*held)()
	}
	l.mu.Lock()
	for _, d := range l.discarded {
		a.Discarded[d.reason] = d.n.Load()
	}
	l.mu.Unlock()
	a.Passed = l.passed.Load()
	a.Received = l.received.Load() // last: never less than what came of it
	return a
}

// Lost is the sum of everything discarded.
func (a Account) Lost() int64 {
	lost := int64(0)
	for _, n := range a.Discarded {
		lost += n
	}
	return lost
}

// Balanced reports whether everything received is accounted for.
func (a Account) Balanced() bool { return a.Received == a.Passed+a.Buffered+a.Lost() }

// Reasons returns the reasons in order, for printing.
func (a Account) Reasons() []string {
	var reasons []string
	for reason := range a.Discarded {
		reasons = append(reasons, reason)
	}
	slices.Sort(reasons)
	return reasons
}
