package connector

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/weirhq/weir/internal/lua"
)

// scriptLog is broker_log (5.1).
type scriptLog struct {
	level int64
	file  string // "" for the log of Weir
	say   func(level slog.Level, text string)
	now   func() time.Time
	line  []byte
}

//lint:ignore ST1005 scripts know this text
var errLevel = errors.New("set_parameters expects the first argument to be 0, 1, 2 or 3.")

var severities = map[string]slog.Level{"INFO": slog.LevelInfo, "WARNING": slog.LevelWarn, "ERROR": slog.LevelError}

// table is the global broker_log.
func (l *scriptLog) table() *lua.Table {
	t := &lua.Table{}
	t.Set("set_parameters", lua.Function(l.setParameters))
	t.Set("info", l.writer("INFO"))
	t.Set("warning", l.writer("WARNING"))
	t.Set("error", l.writer("ERROR"))
	return t
}

func (l *scriptLog) setParameters(c *lua.Call) (int, error) {
	level, err := c.Int(2)
	if err != nil || level < 0 || level > 3 {
		return 0, errLevel
	}
	file := ""
	if !c.IsNil(3) {
		if file, err = c.String(3); err != nil {
			return 0, err
		}
	}
	l.level, l.file = level, file
	return 0, nil
}

// writer is one of info, warning and error: they share the rule of levels.
func (l *scriptLog) writer(severity string) lua.Function {
	return func(c *lua.Call) (int, error) {
		level, err := c.Int(2)
		text := []byte("(null)")
		switch {
		case err == nil && !c.IsNil(3):
			if text, err = c.Bytes(3); err != nil {
				return 0, err
			}
		case err != nil && c.Type(2) == "string": // the level was left out
			if text, err = c.Bytes(2); err != nil {
				return 0, err
			}
			level = 0
			if !c.IsNil(3) {
				if text, err = c.Bytes(3); err != nil {
					return 0, err
				}
			}
		case err != nil:
			return 0, err
		}
		if level <= l.level {
			l.write(severity, text)
		}
		return 0, nil
	}
}

// write opens the file for each line, so that it may be moved away at any time,
// and writes the line at once, so that lines of several scripts stay whole.
func (l *scriptLog) write(severity string, text []byte) {
	if l.file == "" {
		l.say(severities[severity], string(text))
		return
	}
	l.line = l.now().AppendFormat(l.line[:0], "Mon Jan _2 15:04:05 2006")
	l.line = append(append(append(l.line, ": "...), severity...), ": "...)
	l.line = append(append(l.line, text...), '\n')
	file, err := os.OpenFile(l.file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err == nil {
		_, err = file.Write(l.line)
		if failed := file.Close(); err == nil {
			err = failed
		}
	}
	if err != nil {
		l.say(slog.LevelError, fmt.Sprintf("cannot write to the log file of the script: %v; the line was: %s", err, text))
	}
}
