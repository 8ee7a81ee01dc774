package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// MissingScripts are mistakes about scripts of connectors that cannot be read. It
// is no mistake to start without them: they are tried again while Weir runs.
func (c *Config) MissingScripts() (missing Errors) {
	for i, s := range c.Events.Connectors {
		path := index("connectors", i) + ".script"
		file, err := os.Open(s.Script)
		if err == nil {
			var info os.FileInfo
			if info, err = file.Stat(); err == nil && info.IsDir() {
				err = errors.New("it is a directory")
			}
			file.Close()
		}
		if err != nil {
			missing = append(missing, c.Fail(path, fmt.Errorf("cannot use %s for %s: %s%s", quote(s.Script), path, reason(err), meant(s.Script))))
		}
	}
	return missing
}

// meant is the question whether a file beside a missing one was meant.
func meant(path string) string {
	beside, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.lua"))
	for i := range beside {
		beside[i] = filepath.Base(beside[i])
	}
	near := nearest(filepath.Base(path), beside)
	if near == "" {
		return ""
	}
	return "; did you mean " + quote(filepath.Join(filepath.Dir(path), near)) + "?"
}
