package lineprotocol

import (
	"bytes"
	"errors"
	"math"
	"time"

	"github.com/weirhq/weir/internal/writes"
)

// maxLine is how many bytes a line may have.
const maxLine = 64 << 10

// kind is the type of a field's value.
type kind uint8

const (
	number kind = iota // booleans too, as 1 and 0
	text
)

// field is one field of a line. name is as it stands, with its escapes.
type field struct {
	name  []byte
	kind  kind
	value float64
}

// line is a line taken apart. Its bytes are those of what was parsed.
type line struct {
	key    []byte // measurement and tags as they stand; nil when there is nothing but white space or a comment
	fields []field
	time   int64 // in the precision of the request
	timed  bool  // the line has a time
}

// What can be wrong with a line, in words of InfluxDB where it has some.
var (
	errIncomplete  = errors.New("the line does not end here") // never leaves the package
	errTooLong     = errors.New("the line is longer than 64 KiB")
	errNoFields    = errors.New("missing fields")
	errNoName      = errors.New("missing measurement")
	errNoFieldName = errors.New("missing field key")
	errNoValue     = errors.New("missing field value")
	errNumber      = errors.New("invalid number")
	errBoolean     = errors.New("invalid boolean")
	errString      = errors.New("unbalanced quotes")
	errAfterValue  = errors.New("there is something after the value of a field: a comma, a space or the end must follow")
	errTime        = errors.New("bad timestamp: it must be a whole number")
)

// parse takes the line apart that data begins with and returns how many bytes it is
// long, with its end. last says that nothing comes after data; without it the error may be
// errIncomplete. After another error the next line is where it would be without quotes, so that
// one that is missing costs only its own line.
func (l *line) parse(data []byte, last bool) (size int, err error) {
	l.key, l.fields, l.timed = nil, l.fields[:0], false
	end := bytes.IndexByte(data, '\n')
	if end < 0 {
		if !last {
			return 0, errIncomplete
		}
		end = len(data)
	}
	size = min(end+1, len(data))
	whole := size // of a line with strings that go over several
	begin := 0
	for begin < end && (data[begin] == ' ' || data[begin] == '\t' || data[begin] == '\r') {
		begin++
	}
	if begin == end || data[begin] == '#' {
		return size, nil
	}
	i := keyEnd(data[:end], begin)
	if i == begin || data[begin] == ',' {
		return size, errNoName
	}
	if i == end {
		return size, errNoFields
	}
	key := data[begin:i]
	for i < end && data[i] == ' ' {
		i++
	}
	if i == end || data[i] == '\r' {
		return size, errNoFields
	}
	for {
		var f field
		equals := nameEnd(data[:end], i)
		if equals == end || data[equals] != '=' {
			return size, errNoValue
		}
		if equals == i {
			return size, errNoFieldName
		}
		f.name = data[i:equals]
		i = equals + 1
		if i < end && data[i] == '"' {
			// A string may go over several lines.
			closing := stringEnd(data, i+1)
			if closing < 0 {
				if !last && len(data) < maxLine {
					return 0, errIncomplete
				}
				return size, errString
			}
			f.kind = text
			if i = closing + 1; i > end {
				if end = bytes.IndexByte(data[i:], '\n'); end >= 0 {
					end += i
				} else if last || len(data) >= maxLine {
					end = len(data)
				} else {
					return 0, errIncomplete
				}
				whole = min(end+1, len(data))
			}
		} else {
			value, n, err := parseValue(data[i:end])
			if err != nil {
				return size, err
			}
			f.value = value
			i += n
		}
		l.fields = append(l.fields, f)
		if i < end && data[i] == ',' {
			i++
			continue
		}
		break
	}
	if i < end && data[i] != ' ' && data[i] != '\r' {
		return size, errAfterValue
	}
	rest := bytes.Trim(data[i:end], " \r")
	if len(rest) > 0 {
		if l.time, l.timed = writes.ParseInteger(rest); !l.timed {
			return size, errTime
		}
	}
	l.key = key
	return whole, nil
}

// keyEnd is where measurement and tags end that begin at i: at a space without "\" before it.
func keyEnd(data []byte, i int) int {
	begin := i
	for {
		n := bytes.IndexByte(data[i:], ' ')
		if n < 0 {
			return len(data)
		}
		i += n
		if i == begin || data[i-1] != '\\' {
			return i
		}
		i++
	}
}

// nameEnd is where the name of a field ends that begins at i.
func nameEnd(data []byte, i int) int {
	for ; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '=', ' ', ',':
			return i
		}
	}
	return len(data)
}

// stringEnd is where the quote is that ends the string which begins at i, -1 without one.
func stringEnd(data []byte, i int) int {
	for ; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// parseValue reads a value that is not a string and returns how many bytes it takes.
func parseValue(data []byte) (value float64, size int, err error) {
	value, size = writes.ParseNumber(data)
	if size == 0 {
		return parseWord(data)
	}
	if size < len(data) && (data[size] == 'i' || data[size] == 'u') {
		for _, c := range data[:size] {
			if (c < '0' || c > '9') && (c != '-' || data[size] == 'u') {
				return 0, 0, errNumber
			}
		}
		if limit := float64(1 << 63); data[size] == 'i' && (value > limit || value < -limit) || value > 2*limit {
			return 0, 0, errNumber
		}
		size++
	}
	return value, size, nil
}

// parseWord reads a boolean.
func parseWord(data []byte) (value float64, size int, err error) {
	if i := bytes.IndexAny(data, ", \r"); i >= 0 {
		data = data[:i]
	}
	switch string(data) {
	case "t", "T", "true", "True", "TRUE":
		return 1, len(data), nil
	case "f", "F", "false", "False", "FALSE":
		return 0, len(data), nil
	case "":
		return 0, 0, errNoValue
	}
	if data[0] == 't' || data[0] == 'T' || data[0] == 'f' || data[0] == 'F' {
		return 0, 0, errBoolean
	}
	return 0, 0, errNumber
}

// precision is the unit of times: one is so many nanoseconds.
type precision int64

// precisions are the units by the names of version 1; version 2 knows four of them.
var precisions = map[string]precision{
	"": 1, "n": 1, "ns": 1, "u": precision(time.Microsecond), "us": precision(time.Microsecond), "µ": precision(time.Microsecond), "ms": precision(time.Millisecond),
	"s": precision(time.Second), "m": precision(time.Minute), "h": precision(time.Hour),
}

// seconds is t as Unix seconds, rounded down.
func (p precision) seconds(t int64) int64 {
	if many := int64(p) / int64(time.Second); many > 0 {
		if t > math.MaxInt64/many || t < math.MinInt64/many {
			return math.MaxInt64 / many // far in the future either way is refused as such
		}
		return t * many
	}
	per := int64(time.Second) / int64(p)
	at := t / per
	if t%per < 0 {
		at--
	}
	return at
}
