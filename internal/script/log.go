package script

import (
	"context"
	"log/slog"
)

// Logger returns a log for the script half: say, which is [Writer.Log] as a rule, gets warnings and errors as one text each,
// attributes included. The time and the level are in the daemon's log.
func Logger(say func(level slog.Level, text string)) *slog.Logger {
	return slog.New(logHandler{say: say})
}

type logHandler struct {
	say  func(level slog.Level, text string)
	more string // attributes of the logger
}

// Enabled implements slog.Handler.
func (h logHandler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h logHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message + h.more
	r.Attrs(func(a slog.Attr) bool {
		if a.Key != "left_out" || a.Value.Any() != int64(0) { // of a limited message: none was
			text += " " + a.String()
		}
		return true
	})
	h.say(r.Level, text)
	return nil
}

// WithAttrs implements slog.Handler.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.more += " " + a.String()
	}
	return h
}

// WithGroup implements slog.Handler: nobody groups attributes here.
func (h logHandler) WithGroup(string) slog.Handler { return h }
