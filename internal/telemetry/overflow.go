package telemetry

import (
	"slices"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Overflow accounts for items that were added up in a bucket, because a budget
// was spent: no item is lost, but which one it was is. Its methods may be called from any goroutine.
type Overflow struct {
	component, budget string
	total             atomic.Int64
	name              atomic.Pointer[func() []Offender]
}

// Offender is who spent a budget.
type Offender struct {
	Name  string `json:"name"`
	Items int64  `json:"items"` // that went to the bucket
}

// MaxOffenders is how many offenders of one budget are named, so that naming them is no flood of its own.
const MaxOffenders = 10

// Overflow returns the account of one budget of a component, making it at the first call.
func (r *Registry) Overflow(component, budget string) *Overflow {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.overflows {
		if o.component == component && o.budget == budget {
			return o
		}
	}
	o := &Overflow{component: component, budget: budget}
	r.overflows = append(r.overflows, o)
	return o
}

// Add counts n items that went to a bucket.
func (o *Overflow) Add(n int) { o.total.Add(int64(n)) }

// Name sets the function that says who spent the budget, the worst first and at most [MaxOffenders].
func (o *Overflow) Name(offenders func() []Offender) { o.name.Store(&offenders) }

// Spent is an [Overflow] at one moment.
type Spent struct {
	Component string     `json:"component"`
	Budget    string     `json:"budget"`
	Items     int64      `json:"items"`     // that went to buckets since the start
	Offenders []Offender `json:"offenders"` // of those that are still held, the worst first
}

// Spent returns every budget that was spent since the start, sorted by component and budget.
func (r *Registry) Spent() []Spent {
	r.mu.Lock()
	all := slices.Clone(r.overflows)
	r.mu.Unlock()
	spent := []Spent{}
	for _, o := range all {
		s := Spent{Component: o.component, Budget: o.budget, Items: o.total.Load(), Offenders: []Offender{}}
		if s.Items == 0 {
			continue
		}
		if name := o.name.Load(); name != nil {
			s.Offenders = append(s.Offenders, (*name)()...)
		}
		spent = append(spent, s)
	}
	slices.SortFunc(spent, func(a, b Spent) int { return strings.Compare(a.Component+" "+a.Budget, b.Component+" "+b.Budget) })
	return spent
}

// overflows exports the budgets of a Registry.
type overflows struct{ registry *Registry }

var (
	overflowDesc = prometheus.NewDesc("weir_overflow_total", "Items that were added up in a bucket because a budget was spent.", []string{"component", "budget"}, nil)
	offenderDesc = prometheus.NewDesc("weir_overflow_offender_items", "Items in a bucket, of those who spent most of a budget.", []string{"component", "budget", "offender"}, nil)
)

func (overflows) Describe(ch chan<- *prometheus.Desc) {
	ch <- overflowDesc
	ch <- offenderDesc
}

func (o overflows) Collect(ch chan<- prometheus.Metric) {
	for _, s := range o.registry.Spent() {
		ch <- prometheus.MustNewConstMetric(overflowDesc, prometheus.CounterValue, float64(s.Items), s.Component, s.Budget)
		for _, who := range s.Offenders {
			ch <- prometheus.MustNewConstMetric(offenderDesc, prometheus.GaugeValue, float64(who.Items), s.Component, s.Budget, who.Name)
		}
	}
}
