package backend

import "context"

// Backend receives flushes.
type Backend interface {
	// Flush handles one flush. It is called from one goroutine at a time, in
	// the order of the flushes; f is shared and must not be changed. An error is
	// logged and counted, and the next flush is delivered all the same.
	Flush(ctx context.Context, f *Flush) error
}
