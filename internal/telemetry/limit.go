package telemetry

import (
	"log/slog"
	"sync"
	"time"
)

// Limited writes warnings at a bounded rate: at most burst in every period; the
// first one after a pause says how many were left out.
type Limited struct {
	log    *slog.Logger
	period time.Duration
	burst  int

	mu      sync.Mutex
	start   time.Time // of the current period
	written int       // in the current period
	missed  int       // since the last one written
}

// NewLimited returns a Limited that writes to log.
func NewLimited(log *slog.Logger, period time.Duration, burst int) *Limited {
	return &Limited{log: log, period: period, burst: burst}
}

// Allow reports whether a warning may be written now, and how many were left
// out since the last one; callers on hot paths ask first and format only then.
func (l *Limited) Allow() (missed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.start) >= l.period {
		l.start, l.written = now, 0
	}
	if l.written >= l.burst {
		l.missed++
		return 0, false
	}
	l.written++
	missed, l.missed = l.missed, 0
	return missed, true
}

// Miss counts n more as left out.
func (l *Limited) Miss(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missed += n
}

// Warn writes a warning, or counts it as left out.
func (l *Limited) Warn(message string, args ...any) {
	if missed, ok := l.Allow(); ok {
		if missed > 0 {
			args = append(args, "left_out", missed)
		}
		l.log.Warn(message, args...)
	}
}
