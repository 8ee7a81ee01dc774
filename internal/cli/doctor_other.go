//go:build !linux

package cli

import "context"

// kernel has no checks outside Linux.
func (d *doctor) kernel(context.Context) []finding { return nil }

// directory checks that data can be written.
func (d *doctor) directory() []finding {
	if err := writable(d.plan.data); err != nil {
		return []finding{{fail, "data", word(d.plan.data) + " cannot be written: " + err.Error(), "make it, or choose another path for data"}}
	}
	return []finding{{ok, "data", word(d.plan.data) + " can be written", ""}}
}
