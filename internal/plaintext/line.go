package plaintext

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/writes"
	"github.com/weirhq/weir/timeseries"
)

// maxLine is how many bytes a line may have.
const maxLine = 16 << 10

// schema is that of everything Graphite's clients send. Its step is the interval of most of them.
var schema = timeseries.Schema{
	Name: "graphite:metric", Step: 10, Tags: []string{"path", "tags"}, Metrics: []string{"value"}, Type: timeseries.Gauge, Packed: "tags",
}

// line is a line taken apart. Its bytes are those of what was parsed.
type line struct {
	path  []byte // with its tags
	value float64
	time  int64 // Unix seconds
}

var (
	errParts    = errors.New("it must be PATH VALUE TIMESTAMP")
	errValue    = errors.New("the value must be a number")
	errInfinite = errors.New("the value is infinite")
	errNaN      = errors.New("the value is not a number")
	errTime     = errors.New("the timestamp must be Unix seconds, or -1 or N for now")
	errTooLong  = errors.New("the line is longer than 16 KiB")
	errBlank    = errors.New("the line is blank") // never leaves the package
)

// parse takes a line without its end apart. now is the time of those that have none.
func parse(text []byte, now int64) (l line, err error) {
	rest := text
	path, rest := word(rest)
	value, rest := word(rest)
	stamp, rest := word(rest)
	switch {
	case len(path) == 0:
		return l, errBlank
	case len(stamp) == 0 || len(bytes.TrimLeft(rest, " \t\r")) > 0:
		return l, errParts
	}
	l.path = path
	n := 0
	if l.value, n = writes.ParseNumber(value); n != len(value) {
		switch strings.ToLower(strings.TrimLeft(string(value), "+-")) {
		case "nan":
			return l, errNaN
		case "inf", "infinity":
			return l, errInfinite
		}
		return l, errValue
	}
	l.time, err = timestamp(stamp, now)
	return l, err
}

// timestamp reads a time; a fraction is left out.
func timestamp(text []byte, now int64) (int64, error) {
	if len(text) == 1 && text[0] == 'N' {
		return now, nil
	}
	if at, ok := writes.ParseInteger(text); ok {
		if at == -1 {
			return now, nil
		}
		return at, nil
	}
	at, n := writes.ParseNumber(text)
	if n != len(text) || math.Abs(at) > 1<<53 {
		return 0, errTime
	}
	if at == -1 {
		return now, nil
	}
	return int64(math.Floor(at)), nil
}

// word takes the first word off text.
func word(text []byte) (word, rest []byte) {
	i := 0
	for i < len(text) && blank(text[i]) {
		i++
	}
	begin := i
	for i < len(text) && !blank(text[i]) {
		i++
	}
	return text[begin:i], text[i:]
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// series is what a path with its tags is in the store.
type series struct {
	err  error // why it cannot be one
	tags []string
}

// newSeries takes a path apart: "NAME;TAG=VALUE;TAG=VALUE". Of a tag that is there twice the last counts.
func newSeries(path string) *series {
	name, rest, tagged := strings.Cut(path, ";")
	if name == "" {
		return &series{err: errors.New("the path has no name before its tags")}
	}
	values := make(map[string]string)
	var keys []string
	for tagged {
		var item string
		item, rest, tagged = strings.Cut(rest, ";")
		key, value, ok := strings.Cut(item, "=")
		if !ok || key == "" || value == "" {
			return &series{err: fmt.Errorf("the tag %.100q must be NAME=VALUE", item)}
		}
		if _, twice := values[key]; !twice {
			keys = append(keys, key)
		}
		values[key] = value
	}
	slices.Sort(keys)
	var packed []byte
	for _, key := range keys {
		packed = timeseries.AppendPacked(packed, key, values[key])
	}
	return &series{tags: []string{name, string(packed)}}
}
