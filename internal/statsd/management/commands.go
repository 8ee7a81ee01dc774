package management

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirhq/weir/backend"
	"github.com/weirhq/weir/internal/statsd"
	"github.com/weirhq/weir/internal/statsd/inspect"
)

const help = "Commands: stats, counters, timers, gauges, delcounters, deltimers, delgauges, health, config, quit\n\n"

// answer carries out one command: words between single blanks. Names of
// commands are case-sensitive.
func (c *Console) answer(line string) (text string, quit bool) {
	words := strings.Split(strings.ToValidUTF8(line, "\uFFFD"), " ")
	arguments := words[1:]
	switch words[0] {
	case "help":
		return help, false
	case "stats":
		return c.stats(), false
	case "counters":
		return c.dump(func() inspect.Object { return object(c.source.Counters(), counterEntry) }), false
	case "timers":
		return c.dump(func() inspect.Object { return object(c.source.Timers(), timerEntry) }), false
	case "gauges":
		return c.dump(func() inspect.Object { return object(c.source.Gauges(), gaugeEntry) }), false
	case "delcounters":
		return c.remove(statsd.Counter, arguments), false
	case "deltimers":
		return c.remove(statsd.Timer, arguments), false
	case "delgauges":
		return c.remove(statsd.Gauge, arguments), false
	case "health":
		return c.Health.Answer(arguments), false
	case "config":
		return Render(c.settings()), false
	case "quit":
		return "", true
	}
	return "ERROR\n", false
}

// stats lists figures of the daemon and of the backends that have some.
func (c *Console) stats() string {
	var b strings.Builder
	status, now := c.source.Status(), seconds(c.now())
	fmt.Fprintf(&b, "uptime: %d\n", now-status.Startup.Unix())
	fmt.Fprintf(&b, "messages.last_msg_seen: %d\n", now-seconds(status.LastPacket))
	fmt.Fprintf(&b, "messages.bad_lines_seen: %d\n", status.BadLines)
	if !status.NextFlush.IsZero() { // before, backends are perhaps not loaded yet
		for _, backend := range c.backends {
			c.backendStats(&b, backend, now)
		}
	}
	return b.String() + "END\n\n"
}

// seconds is t in Unix seconds as the reference daemon computes them: rounded, not cut.
func seconds(t time.Time) int64 { return (t.UnixMilli() + 500) / 1000 }

// texter is a backend that has the lines of the command stats ready, such as one
// that stands for several. now is in Unix seconds.
type texter interface {
	StatusText(now int64) (string, error)
}

func (c *Console) backendStats(b *strings.Builder, reporter backend.Backend, now int64) {
	if t, ok := reporter.(texter); ok {
		text, err := t.StatusText(now)
		if err != nil {
			c.warn.Warn(fmt.Sprintf("Failed to read stats for backend %s: %v", reporter.Name(), err))
		}
		b.WriteString(text)
		return
	}
	r, ok := reporter.(backend.StatusReporter)
	if !ok {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			c.warn.Warn(fmt.Sprintf("Failed to read stats for backend %s: %v", reporter.Name(), p))
		}
	}()
	r.Status(func(stat string, value float64) {
		if strings.HasPrefix(stat, "last_") {
			value = float64(now) - value
		}
		fmt.Fprintf(b, "%s.%s: %s\n", reporter.Name(), stat, statsd.FormatNumber(value))
	})
}

var printer = inspect.Printer{Depth: 2, Number: statsd.FormatNumber}

// dump prints the metrics of one kind.
func (c *Console) dump(metrics func() inspect.Object) string {
	c.dumping.Lock()
	defer c.dumping.Unlock()
	return printer.Sprint(metrics()) + "\nEND\n\n"
}

func object[M any](metrics []M, entry func(*M) inspect.Entry) inspect.Object {
	o := make(inspect.Object, len(metrics))
	for i := range metrics {
		o[i] = entry(&metrics[i])
	}
	return o
}

func counterEntry(m *backend.Counter) inspect.Entry {
	return inspect.Entry{Name: m.Name, Value: m.Value}
}

func gaugeEntry(m *backend.Gauge) inspect.Entry { return inspect.Entry{Name: m.Name, Value: m.Value} }

func timerEntry(m *backend.Timer) inspect.Entry {
	values := make(inspect.Array, len(m.Values))
	for i, v := range m.Values {
		values[i] = v
	}
	return inspect.Entry{Name: m.Name, Value: values}
}

// remove deletes what the patterns match.
func (c *Console) remove(kind statsd.Kind, patterns []string) string {
	var b strings.Builder
	for _, pattern := range patterns {
		deleted := c.source.Delete(kind, pattern)
		for _, name := range deleted {
			b.WriteString("deleted: " + name + "\n")
		}
		if len(deleted) == 0 {
			b.WriteString("metric " + pattern + " not found\n")
		}
	}
	return b.String() + "END\n\n"
}

// Render is the answer to the command config.
func Render(settings []Setting) string {
	var b strings.Builder
	b.WriteByte('\n')
	for _, s := range settings {
		b.WriteString(s.Name)
		if s.Sub != "" {
			b.WriteString(" > " + s.Sub)
		}
		b.WriteString(": " + s.Value + "\n")
	}
	return b.String()
}
