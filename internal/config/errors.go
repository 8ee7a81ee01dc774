package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is one mistake in a configuration. It prints as "file:line:column:
// message", which editors jump to.
type Error struct {
	File         string // "" when the configuration is the built-in one
	Line, Column int    // from 1, the column in characters; 0 when the whole file is meant
	Message      string
}

func (e *Error) Error() string {
	switch {
	case e.File == "":
		return e.Message
	case e.Line == 0:
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors are all mistakes of a configuration, in the order of the file, one per line.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// position is a place in the file.
type position struct{ line, column int }

// Fail returns an error about the option at path, such as "http.listen" or
// "sources.statsd[0].listen", which turned out to be wrong when it was used:
// with its place in the file, or with its name when it is a default.
func (c *Config) Fail(path string, err error) *Error {
	if at, ok := c.locate(path); ok {
		return &Error{File: c.file, Line: at.line, Column: at.column, Message: err.Error()}
	}
	return &Error{File: c.file, Message: fmt.Sprintf("%v (option %s, which has its default)", err, path)}
}

// locate finds where the option at path, or else what it is part of, is given.
func (c *Config) locate(path string) (position, bool) {
	for path != "" {
		if at, ok := c.positions[path]; ok {
			return at, true
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return position{}, false
}

// reason is what went wrong with a file, without its name, which stands elsewhere.
func reason(err error) string {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err.Error()
	}
	return err.Error()
}

const maxQuoted = 60 // characters

// quote renders text of the file for a message: long text is cut, what cannot
// be printed is escaped.
func quote(text string) string {
	if utf8.RuneCountInString(text) > maxQuoted {
		text = string([]rune(text)[:maxQuoted]) + "..."
	}
	return strconv.Quote(text)
}

// nearest returns the word most like text, "" when none is like it. Case,
// dashes and underscores do not count, so that flushInterval finds flush_interval.
func nearest(text string, words []string) string {
	plain := func(s string) string {
		return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(s))
	}
	wanted := plain(text)
	best, closest := "", len(wanted)/3+1
	for _, word := range words {
		if n := distance(wanted, plain(word)); n < closest || n == closest && best == "" && n <= 2 && len(wanted) > 2 {
			best, closest = word, n
		}
	}
	return best
}

// maxCompared bounds the work of distance; no key is as long.
const maxCompared = 64

// distance is how many bytes have to be inserted, removed, replaced or swapped
// with their neighbour to get from a to b.
func distance(a, b string) int {
	if len(a) > maxCompared || len(b) > maxCompared {
		return maxCompared
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range a {
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
