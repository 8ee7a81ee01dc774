package monitor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"
)

// source is a script's file, found in a directory of the configuration.
type source struct {
	path string
	root string // the directory that was configured, or that of a file that was
	name string // below root, for people and the log
	size int64
	time time.Time // of its last change

	entry Entry // of the configuration
}

// same reports whether the file has not changed.
func (s source) same(other source) bool {
	return s.path == other.path && s.size == other.size && s.time.Equal(other.time) && reflect.DeepEqual(s.entry, other.entry)
}

// maxSources bounds how many files are tried.
const maxSources = 4096

// scan lists the scripts of directories and files, in the order in which they are loaded: as configured, files of a directory by name. Errors
// are of single paths; the others are listed.
func scan(entries []Entry) (found []source, failed []error) {
	seen := make(map[string]bool)
	add := func(entry Entry, root, path string, info fs.FileInfo) {
		if seen[path] || len(found) >= maxSources {
			return
		}
		seen[path] = true
		name, err := filepath.Rel(root, path)
		if err != nil {
			name = filepath.Base(path)
		}
		found = append(found, source{path: path, root: root, name: name, size: info.Size(), time: info.ModTime(), entry: entry})
	}
	for _, entry := range entries {
		configured := entry.Path
		absolute, err := filepath.Abs(configured)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		info, err := os.Stat(absolute)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			failed = append(failed, fmt.Errorf("cannot read the scripts in %q: there is no such file or directory", configured))
			continue
		case err != nil:
			failed = append(failed, fmt.Errorf("cannot read the scripts in %q: %w", configured, err))
			continue
		case !info.IsDir():
			add(entry, filepath.Dir(absolute), absolute, info)
			continue
		}
		var below []string
		err = filepath.WalkDir(absolute, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				failed = append(failed, fmt.Errorf("cannot read the scripts in %q: %w", path, err))
				return nil
			}
			if !d.IsDir() && strings.HasSuffix(path, ".lua") && !strings.HasPrefix(d.Name(), ".") {
				below = append(below, path)
			}
			return nil
		})
		if err != nil {
			failed = append(failed, err)
		}
		slices.Sort(below)
		for _, path := range below {
			info, err := os.Stat(path)
			if err != nil {
				failed = append(failed, fmt.Errorf("cannot read the script %q: %w", path, err))
				continue
			}
			if info.Mode().IsRegular() {
				add(entry, absolute, path, info)
			}
		}
	}
	if len(found) == maxSources {
		failed = append(failed, fmt.Errorf("more than %d scripts were found; the others are left out", maxSources))
	}
	return found, failed
}
