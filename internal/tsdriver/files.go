package tsdriver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/weirhq/weir/internal/lua"
)

// fileFunctions are those of ntop that look at files and directories (4.6).
func fileFunctions(directory string) map[string]lua.Function {
	ask := func(answer func(path string) bool) lua.Function {
		return func(c *lua.Call) (int, error) {
			path, err := c.String(1)
			if err != nil {
				return 0, err
			}
			c.PushBool(answer(path))
			return 1, nil
		}
	}
	return map[string]lua.Function{
		"exists": ask(func(path string) bool { _, err := os.Stat(path); return err == nil }),
		"isdir":  ask(func(path string) bool { info, err := os.Stat(path); return err == nil && info.IsDir() }),
		"notEmptyFile": ask(func(path string) bool {
			info, err := os.Stat(path)
			return err == nil && info.Mode().IsRegular() && info.Size() > 0
		}),
		"mkdir": ask(func(path string) bool { return os.MkdirAll(path, 0o750) == nil }),
		"rmdir": func(c *lua.Call) (int, error) {
			path, err := c.String(1)
			if err != nil {
				return 0, err
			}
			if err := removable(path, directory); err != nil {
				return 0, err
			}
			_, err = os.Lstat(path)
			c.PushBool(err == nil && os.RemoveAll(path) == nil)
			return 1, nil
		},
		"readdir": func(c *lua.Call) (int, error) {
			path, err := c.String(1)
			if err != nil {
				return 0, err
			}
			entries, err := os.ReadDir(path)
			if err != nil { // an empty table says so
				entries = nil
			}
			t := &lua.Table{}
			for _, e := range entries {
				if name := e.Name(); !strings.HasPrefix(name, ".") {
					t.Set(name, name)
				}
			}
			c.Push(t)
			return 1, nil
		},
	}
}

// removable refuses directories above the script's own: a path that was put together from empty parts is one.
func removable(path, directory string) error {
	full, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if full == "/" {
		return errors.New("cannot remove \"/\"")
	}
	if directory == "" {
		return nil
	}
	own, err := filepath.Abs(directory)
	if err != nil {
		return err
	}
	if own == full || strings.HasPrefix(own, full+"/") {
		return fmt.Errorf("cannot remove %q: the script's own directory %q is in it", cut(path), own)
	}
	return nil
}
