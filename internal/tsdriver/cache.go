package tsdriver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/lua"
)

// Limits of a cache: a script that fills it gets an error.
const (
	maxCacheKeys  = 100_000
	maxCacheBytes = 64 << 20
	maxCacheList  = 100_000 // entries of a list
	saveEvery     = time.Second
)

// cache is the one store of strings in which preferences and what scripts keep live (4.5). It is
// saved in a file a second after a change at the latest, and belongs to the goroutine of the calls.
type cache struct {
	path  string // "" keeps it in memory only
	now   func() time.Time
	given map[string]string // preferences of the configuration

	values map[string]cached
	lists  map[string][]string
	bytes  int
	dirty  bool
	saved  time.Time
}

type cached struct {
	Text  string `json:"text"`
	Until int64  `json:"until,omitempty"` // Unix seconds, 0 for ever
}

// cacheFile is the form of the file.
type cacheFile struct {
	Values map[string]cached   `json:"values"`
	Lists  map[string][]string `json:"lists"`
}

// openCache reads the cache of a script. A file that cannot be read is kept beside the new one, and the error
// says so: the cache is there nevertheless.
func openCache(path string, given map[string]string, now func() time.Time) (*cache, error) {
	c := &cache{path: path, now: now, given: given, values: make(map[string]cached), lists: make(map[string][]string)}
	err := c.read()
	for key, text := range given {
		c.values[key] = cached{Text: text}
	}
	for key, v := range c.values {
		c.bytes += len(key) + len(v.Text)
	}
	for key, list := range c.lists {
		c.bytes += len(key)
		for _, text := range list {
			c.bytes += len(text)
		}
	}
	return c, err
}

func (c *cache) read() error {
	if c.path == "" {
		return nil
	}
	text, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var file cacheFile
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot read the cache of the script, which begins anew: %w", err), os.Rename(c.path, c.path+".unreadable"))
	}
	maps.Copy(c.values, file.Values)
	maps.Copy(c.lists, file.Lists)
	return nil
}

// save writes the file when something changed, at most once a second unless it is the last time.
func (c *cache) save(last bool) error {
	now := c.now()
	if !c.dirty || c.path == "" || !last && now.Sub(c.saved) < saveEvery {
		return nil
	}
	c.saved = now
	text, err := json.Marshal(cacheFile{c.values, c.lists})
	if err == nil {
		temporary := c.path + ".tmp"
		if err = os.WriteFile(temporary, text, 0o600); err == nil {
			err = os.Rename(temporary, c.path)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot save the cache of the script: %w", err)
	}
	c.dirty = false
	return nil
}

func (c *cache) get(key string) string {
	v, ok := c.values[key]
	if ok && v.Until != 0 && v.Until <= c.now().Unix() {
		c.remove(key)
		return ""
	}
	return v.Text
}

func (c *cache) set(key, text string, ttl time.Duration) error {
	old, there := c.values[key]
	grows := len(text) - len(old.Text)
	if !there {
		grows += len(key)
		if len(c.values) >= maxCacheKeys {
			return fmt.Errorf("cannot store %q: there are %d keys already", cut(key), maxCacheKeys)
		}
	}
	if c.bytes+grows > maxCacheBytes {
		return fmt.Errorf("cannot store %q: the cache holds %d bytes already, at most %d are allowed", cut(key), c.bytes, maxCacheBytes)
	}
	v := cached{Text: text}
	if ttl > 0 {
		v.Until = c.now().Add(ttl).Unix()
	}
	if there && old == v {
		return nil
	}
	c.values[key], c.bytes, c.dirty = v, c.bytes+grows, true
	return nil
}

func (c *cache) remove(key string) {
	if v, ok := c.values[key]; ok {
		c.bytes -= len(key) + len(v.Text)
		delete(c.values, key)
		c.dirty = true
	}
	if list, ok := c.lists[key]; ok {
		c.bytes -= len(key)
		for _, text := range list {
			c.bytes -= len(text)
		}
		delete(c.lists, key)
		c.dirty = true
	}
}

// increment adds to a number; what is no number counts as 0.
func (c *cache) increment(key string, by int64) (int64, error) {
	n, _ := strconv.ParseInt(c.get(key), 10, 64)
	n += by
	return n, c.set(key, strconv.FormatInt(n, 10), 0)
}

// push puts a text at the front of a list, of which the first max stay; 0 keeps all.
func (c *cache) push(key, text string, most int) error {
	list := c.lists[key]
	if most <= 0 || most > maxCacheList {
		most = maxCacheList
	}
	if c.bytes+len(text) > maxCacheBytes {
		return fmt.Errorf("cannot add to the list %q: the cache holds %d bytes already, at most %d are allowed", cut(key), c.bytes, maxCacheBytes)
	}
	if list == nil {
		if len(c.lists) >= maxCacheKeys {
			return fmt.Errorf("cannot store %q: there are %d lists already", cut(key), maxCacheKeys)
		}
		c.bytes += len(key)
	}
	list = slices.Insert(list, 0, text)
	c.bytes += len(text)
	for len(list) > most {
		c.bytes -= len(list[len(list)-1])
		list = list[:len(list)-1]
	}
	c.lists[key], c.dirty = list, true
	return nil
}

// drop removes every entry of a list that equals text.
func (c *cache) drop(key, text string) bool {
	list := c.lists[key]
	kept := slices.DeleteFunc(list, func(s string) bool { return s == text })
	if len(kept) == len(list) {
		return false
	}
	c.bytes -= (len(list) - len(kept)) * len(text)
	c.lists[key], c.dirty = kept, true
	return true
}

// cut is a text for messages.
func cut(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// functions are those of ntop that scripts reach the cache with (4.6).
func (c *cache) functions() map[string]lua.Function {
	get := func(call *lua.Call) (int, error) {
		key, err := call.String(1)
		if err != nil {
			return 0, err
		}
		call.PushString(c.get(key))
		return 1, nil
	}
	set := func(call *lua.Call) (int, error) {
		key, err := call.String(1)
		if err != nil {
			return 0, err
		}
		text, err := stored(call, 2)
		if err != nil {
			return 0, err
		}
		ttl := int64(0)
		if !call.IsNil(3) {
			if ttl, err = call.Int(3); err != nil {
				return 0, err
			}
		}
		if err := c.set(key, text, time.Duration(min(max(ttl, 0), 1<<31))*time.Second); err != nil {
			return 0, err
		}
		call.PushBool(true)
		return 1, nil
	}
	return map[string]lua.Function{
		"getPref": get, "getCache": get, "setPref": set, "setCache": set,
		"delCache": func(call *lua.Call) (int, error) {
			key, err := call.String(1)
			if err != nil {
				return 0, err
			}
			c.remove(key)
			return 0, nil
		},
		"incrCache": func(call *lua.Call) (int, error) {
			key, err := call.String(1)
			if err != nil {
				return 0, err
			}
			by := int64(1)
			if !call.IsNil(2) {
				if by, err = call.Int(2); err != nil {
					return 0, err
				}
			}
			n, err := c.increment(key, by)
			call.PushInt(n)
			return 1, err
		},
		"lpushCache": func(call *lua.Call) (int, error) {
			key, err := call.String(1)
			if err != nil {
				return 0, err
			}
			text, err := stored(call, 2)
			if err != nil {
				return 0, err
			}
			most := int64(0)
			if !call.IsNil(3) {
				if most, err = call.Int(3); err != nil {
					return 0, err
				}
			}
			return 0, c.push(key, text, int(min(max(most, 0), maxCacheList)))
		},
		"llenCache": func(call *lua.Call) (int, error) {
			key, err := call.String(1)
			call.PushInt(int64(len(c.lists[key])))
			return 1, err
		},
		"lremCache": func(call *lua.Call) (int, error) {
			key, err := call.String(1)
			if err != nil {
				return 0, err
			}
			text, err := stored(call, 2)
			call.PushBool(err == nil && c.drop(key, text))
			return 1, err
		},
	}
}

// stored is the text of a value that goes into the cache: a number is an unsigned integer, a boolean its name.
func stored(call *lua.Call, i int) (string, error) {
	switch call.Type(i) {
	case "boolean":
		return strconv.FormatBool(call.Bool(i)), nil
	case "number":
		f, err := call.Float(i)
		if err != nil {
			return "", err
		}
		if f != f || f < -1<<63 || f >= 1<<63 {
			return "0", nil
		}
		return strconv.FormatUint(uint64(int64(f)), 10), nil
	case "string":
		return call.String(i)
	}
	return "", &lua.ArgumentError{Argument: i, Message: "string, number or boolean expected, got " + call.Type(i)}
}

// cachePath is where the cache of a script is kept.
func (s *Setup) cachePath() string {
	if s.Directory == "" {
		return ""
	}
	return filepath.Join(s.Directory, "cache.json")
}
