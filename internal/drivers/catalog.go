package drivers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/weirhq/weir/timeseries"
)

// catalog are the schemas of which points were appended. No remote store knows
// more of a schema than its names, so they are kept in a file.
type catalog struct {
	path string

	mu      sync.Mutex
	schemas map[string]*timeseries.Schema // by name
	changed bool
}

// maxSchemas bounds a catalog, whose schemas may have names from outside.
const maxSchemas = 100_000

func newCatalog(dir string) *catalog {
	return &catalog{path: filepath.Join(dir, "schemas.json"), schemas: make(map[string]*timeseries.Schema)}
}

// add remembers the latest definition of a schema, and says what is wrong with it.
func (c *catalog) add(s *timeseries.Schema) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.schemas[s.Name]
	if known == s {
		return nil
	}
	if err := s.Validate(); err != nil {
		return err
	}
	if known == nil && len(c.schemas) >= maxSchemas {
		return fmt.Errorf("cannot append to %q: there are %d schemas already: %w", s.Name, maxSchemas, timeseries.ErrFull)
	}
	c.changed = c.changed || known == nil || !reflect.DeepEqual(*known, *s)
	c.schemas[s.Name] = s
	return nil
}

// list are the schemas sorted by name.
func (c *catalog) list() []*timeseries.Schema {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.schemas), func(a, b *timeseries.Schema) int { return strings.Compare(a.Name, b.Name) })
}

// save writes the file when something has changed.
func (c *catalog) save() error {
	c.mu.Lock()
	changed := c.changed
	c.changed = false
	c.mu.Unlock()
	if !changed {
		return nil
	}
	text, err := json.MarshalIndent(c.list(), "", "\t")
	if err != nil {
		return err
	}
	return renameio.WriteFile(c.path, text, 0o640, renameio.WithTempDir(filepath.Dir(c.path)))
}

// load reads the file; schemas that are not valid are left out and are the error. A
// file that is damaged is kept beside the one that takes its place.
func (c *catalog) load() error {
	text, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var all []*timeseries.Schema
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		return fmt.Errorf("cannot use %s: %w", c.path, errors.Join(err, os.Rename(c.path, c.path+".damaged")))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, s := range all {
		if s == nil {
			continue
		}
		if err := s.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		if c.schemas[s.Name] == nil {
			c.schemas[s.Name] = s
		}
	}
	return errors.Join(errs...)
}
