package collector

import "math"

// timing says when a job is due (section 1.4). Times are Unix nanoseconds.
type timing struct {
	start     int64
	intervals []int64 // seconds, ascending
}

const second = int64(1e9)

// next is the first time after now at which the job is due.
func (t timing) next(now int64) int64 {
	due := int64(math.MaxInt64)
	for _, interval := range t.intervals {
		step := interval * second
		if at := t.start + step*(floor(now-t.start, step)+1); at < due {
			due = at
		}
	}
	return due
}

// last is the newest time that is not after now at which the job was due.
func (t timing) last(now int64) int64 {
	due := int64(math.MinInt64)
	for _, interval := range t.intervals {
		step := interval * second
		due = max(due, t.start+step*floor(now-t.start, step))
	}
	return due
}

// affecting appends the intervals that make the job due at due, in seconds.
func (t timing) affecting(dst []int64, due int64) []int64 {
	for _, interval := range t.intervals {
		if (due-t.start)%(interval*second) == 0 {
			dst = append(dst, interval)
		}
	}
	return dst
}

// floor is a/b rounded down; b is positive.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
