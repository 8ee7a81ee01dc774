// Package delivery brings data to servers that may be slow, broken or away: a queue on
// disk from which one goroutine sends, again and again when it must, a file for what a
// server does not want, and a client for those that speak HTTP.
package delivery

import (
	"fmt"
	"time"
)

// Rejected is the error of a server that does not want items and will not want them later.
type Rejected struct {
	Reason string
	All    bool // every one of the items is refused, so there is no need to look for the bad ones
}

func (e *Rejected) Error() string { return fmt.Sprintf("the server rejects it: %.500q", e.Reason) }

// Later is the error of a server that cannot take items now and says when it can.
type Later struct {
	After time.Duration // 0 when it does not say
	Err   error
}

func (e *Later) Error() string { return e.Err.Error() }
func (e *Later) Unwrap() error { return e.Err }
