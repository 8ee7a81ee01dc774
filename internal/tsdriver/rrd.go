package tsdriver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/lua"
)

// rrdFunctions are those of ntop for round robin databases (4.6), on the program rrdtool.
func (s *state) rrdFunctions() map[string]lua.Function {
	return map[string]lua.Function{
		"rrd_create":        s.rrdCreate,
		"rrd_update":        s.rrdUpdate,
		"rrd_lastupdate":    s.rrdLastUpdate,
		"rrd_fetch_columns": s.rrdFetch,
		"rrd_inc_num_drops": func(c *lua.Call) (int, error) {
			n := int64(1)
			if !c.IsNil(1) {
				var err error
				if n, err = c.Int(1); err != nil {
					return 0, err
				}
			}
			s.drops += max(n, 0)
			return 0, nil
		},
		"deleteOldRRDs": func(c *lua.Call) (int, error) {
			dir, err := c.String(1)
			if err != nil {
				return 0, err
			}
			seconds, err := c.Int(2)
			if err != nil {
				return 0, err
			}
			oldest := s.now().Add(-time.Duration(min(max(seconds, 0), 1<<31)) * time.Second)
			return 0, deleteOldRRDs(dir, oldest)
		},
	}
}

// deleteOldRRDs removes the databases below dir that were written last before oldest.
func deleteOldRRDs(dir string, oldest time.Time) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".rrd" {
			return err
		}
		info, err := entry.Info()
		if err != nil || !info.ModTime().Before(oldest) {
			return err
		}
		return os.Remove(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// rrd runs a command within the budget of the call.
func (s *state) rrd(args ...string) ([]string, error) {
	ctx, done := s.modules.Block(rrdPatience)
	defer done()
	return s.rrdtool.run(ctx, args...)
}

// texts are the arguments from i on, which must be strings or numbers.
func texts(c *lua.Call, i int) (list []string, err error) {
	for ; i <= c.Len(); i++ {
		text, err := c.String(i)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

// failed gives a script the text of an error, nothing without one.
func failed(c *lua.Call, err error) (int, error) {
	if err == nil {
		c.PushNil()
	} else {
		c.PushString(err.Error())
	}
	return 1, nil
}

func (s *state) rrdCreate(c *lua.Call) (int, error) {
	given, err := texts(c, 1)
	if err != nil {
		return 0, err
	}
	if len(given) < 3 {
		return 0, errors.New("rrd_create takes a path, a step, sources and archives")
	}
	path, step, rest := given[0], given[1], given[2:]
	start := strconv.FormatInt(s.now().Unix()-86400, 10)
	if _, err := strconv.ParseInt(rest[0], 10, 64); err == nil {
		start, rest = rest[0], rest[1:]
	}
	_, err = s.rrd(append([]string{"create", path, "--step", step, "--start", start}, rest...)...)
	return failed(c, err)
}

func (s *state) rrdUpdate(c *lua.Call) (int, error) {
	for i := 1; i <= c.Len(); i++ {
		if c.Type(i) != "string" {
			return 0, &lua.ArgumentError{Argument: i, Message: "string expected, got " + c.Type(i)}
		}
	}
	given, err := texts(c, 1)
	if err != nil {
		return 0, err
	}
	if len(given) < 3 {
		return 0, errors.New("rrd_update takes a path, a time and at least one value")
	}
	_, err = s.rrd("update", given[0], strings.Join(given[1:], ":"))
	return failed(c, err)
}

func (s *state) rrdLastUpdate(c *lua.Call) (int, error) {
	path, err := c.String(1)
	if err != nil {
		return 0, err
	}
	lines, err := s.rrd("lastupdate", path)
	if err != nil {
		return 0, nil // none: it cannot be read
	}
	last, sources, err := parseLast(lines)
	if err != nil {
		return 0, nil
	}
	c.PushInt(last)
	c.PushInt(int64(sources))
	return 2, nil
}

func (s *state) rrdFetch(c *lua.Call) (int, error) {
	given, err := texts(c, 1)
	if err != nil {
		return 0, err
	}
	if len(given) != 4 {
		return 0, errors.New("rrd_fetch_columns takes a path, a consolidation function, a start and an end")
	}
	lines, err := s.rrd("fetch", given[0], given[1], "--start", given[2], "--end", given[3])
	if err != nil {
		s.warn.Warn("cannot read a round robin database", "path", given[0], "error", err)
		return 0, nil
	}
	step := int64(0)
	if len(lines) < 4 { // a single row does not tell
		if step, err = s.rrdStep(given[0]); err != nil {
			return 0, nil
		}
	}
	t, err := parseFetch(lines, step)
	if err != nil {
		return 0, nil
	}
	columns := &lua.Table{}
	names := &lua.Table{}
	for i, name := range t.names {
		column := &lua.Table{}
		for _, v := range t.columns[i] {
			column.Array = append(column.Array, v)
		}
		columns.Set(name, column)
		names.Array = append(names.Array, name)
	}
	c.PushInt(t.start)
	c.PushInt(t.step)
	c.Push(columns)
	c.PushInt(t.end)
	c.PushInt((t.end - t.start) / max(t.step, 1))
	c.Push(names)
	return 6, nil
}

// rrdStep is the time between two updates of a database.
func (s *state) rrdStep(path string) (int64, error) {
	lines, err := s.rrd("info", path)
	if err != nil {
		return 0, err
	}
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "step = "); ok {
			return strconv.ParseInt(text, 10, 64)
		}
	}
	return 0, fmt.Errorf("rrdtool does not know the step of %q", cut(path))
}
