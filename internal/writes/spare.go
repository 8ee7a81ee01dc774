package writes

import "runtime"

// Spare keeps what requests worked with for the next ones: as much as may be worked with
// at once, and, unlike a sync.Pool, over garbage collections. Any goroutine.
type Spare[T any] struct{ kept chan *T }

// NewSpare returns an empty Spare.
func NewSpare[T any]() *Spare[T] { return &Spare[T]{make(chan *T, 2*runtime.GOMAXPROCS(0))} }

// Take returns one that is kept, nil when there is none.
func (s *Spare[T]) Take() *T {
	select {
	case one := <-s.kept:
		return one
	default:
		return nil
	}
}

// Give keeps one, unless there are enough.
func (s *Spare[T]) Give(one *T) {
	select {
	case s.kept <- one:
	default:
	}
}
