package statsd

import (
	"context"
	"log/slog"
)

// messages is a log handler that keeps the messages.
type messages struct{ got *[]string }

func (m *messages) Enabled(context.Context, slog.Level) bool { return true }

func (m *messages) Handle(_ context.Context, r slog.Record) error {
	*m.got = append(*m.got, r.Message)
	return nil
}

func (m *messages) WithAttrs([]slog.Attr) slog.Handler { return m }
func (m *messages) WithGroup(string) slog.Handler      { return m }
