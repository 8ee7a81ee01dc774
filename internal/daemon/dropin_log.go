package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"log/syslog"
	"strings"
	"sync"
	"time"

	"github.com/weirhq/weir/internal/statsd/jsconfig"
)

// dropInLog writes log records as the reference daemon does: to standard output
// as "22 Nov 01:35:54 - WARNING: text", or to syslog (StatsD specification
// section 4.4).
type dropInLog struct {
	*dropInSink
	attributes string // already rendered, with a leading blank
}

// dropInSink is where the records of all derived handlers go.
type dropInSink struct {
	out *lockedWriter

	mu     sync.Mutex
	debug  bool // say everything
	dump   bool // and with dumpMessages every line received, which comes at the level DEBUG
	config jsconfig.Log
	syslog *syslog.Writer // nil for standard output
}

// lockedWriter keeps what the log and the console backend print apart.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func newDropInLog(stdout io.Writer) *dropInLog {
	return &dropInLog{dropInSink: &dropInSink{out: &lockedWriter{w: stdout}}}
}

// stamp is the local time as the reference prints it.
func stamp() string { return time.Now().Format("2 Jan 15:04:05") }

// print writes a line that has no type, which goes to standard output always.
func (s *dropInSink) print(format string, args ...any) {
	fmt.Fprintf(s.out, "%s - %s\n", stamp(), fmt.Sprintf(format, args...))
}

// use takes the log options of a file. After an error they are as before.
func (s *dropInSink) use(file *jsconfig.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if file.Log != s.config {
		var writer *syslog.Writer
		if file.Log.Syslog {
			var err error
			if writer, err = syslog.New(syslog.LOG_LOCAL0|priority(file.Log.Level, syslog.LOG_INFO), file.Log.Application); err != nil {
				return fmt.Errorf("cannot log to syslog (option log.backend): %w", err)
			}
		}
		if s.syslog != nil {
			s.syslog.Close()
		}
		s.syslog, s.config = writer, file.Log
	}
	s.debug, s.dump = file.StatsD.Debug, file.StatsD.DumpMessages
	return nil
}

// priority is the level a configuration names, such as "LOG_INFO".
func priority(level string, missing syslog.Priority) syslog.Priority {
	for p, name := range []string{"LOG_EMERG", "LOG_ALERT", "LOG_CRIT", "LOG_ERR", "LOG_WARNING", "LOG_NOTICE", "LOG_INFO", "LOG_DEBUG"} {
		if strings.EqualFold(level, name) {
			return syslog.Priority(p)
		}
	}
	return missing
}

// Enabled implements [slog.Handler]. The reference daemon says little about
// itself unless it is asked to.
func (l *dropInLog) Enabled(_ context.Context, level slog.Level) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return level >= slog.LevelWarn || l.debug || l.dump && level == slog.LevelDebug
}

// Handle implements [slog.Handler].
func (l *dropInLog) Handle(_ context.Context, r slog.Record) error {
	text := r.Message + l.attributes
	r.Attrs(func(a slog.Attr) bool {
		text += attribute(a)
		return true
	})
	kind := "ERROR"
	switch {
	case r.Level < slog.LevelInfo, strings.HasPrefix(r.Message, "Bad line: "): // debugging to the reference
		kind = "DEBUG"
	case r.Level < slog.LevelWarn:
		kind = "INFO"
	case r.Level < slog.LevelError:
		kind = "WARNING"
	}
	return l.say(kind, text)
}

// say writes a line of a type, which need not be one of the reference daemon's:
// modules use names of their own, which to syslog are of the configuration's level.
func (s *dropInSink) say(kind, text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.syslog == nil {
		_, err := fmt.Fprintf(s.out, "%s - %s: %s\n", stamp(), kind, text)
		return err
	}
	switch kind {
	case "ERROR", "LOG_ERR":
		return s.syslog.Err(text)
	case "WARNING":
		return s.syslog.Warning(text)
	case "INFO":
		return s.syslog.Info(text)
	case "DEBUG":
		return s.syslog.Debug(text)
	}
	_, err := s.syslog.Write([]byte(text))
	return err
}

func attribute(a slog.Attr) string { return fmt.Sprintf(" %s=%v", a.Key, a.Value) }

// WithAttrs implements [slog.Handler].
func (l *dropInLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := l.attributes
	for _, a := range attrs {
		more += attribute(a)
	}
	return &dropInLog{l.dropInSink, more}
}

// WithGroup implements [slog.Handler]; the reference's format knows no groups.
func (l *dropInLog) WithGroup(string) slog.Handler { return l }
