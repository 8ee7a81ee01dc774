package graphite

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// metric is one element of a pickled list: (name, (timestamp, value)).
type metric struct {
	Name      string
	Timestamp int64
	Value     string
}

// unpickle reads one or more messages: the length of each, then a pickle of
// protocol 0 with a list of tuples, as a stack machine, which is what Python's
// own reader is.
func unpickle(text []byte) ([]metric, error) {
	var all []metric
	for len(text) > 0 {
		if len(text) < 4 || int(binary.BigEndian.Uint32(text)) > len(text)-4 {
			return nil, fmt.Errorf("the length is wrong: %d bytes", len(text))
		}
		n := int(binary.BigEndian.Uint32(text))
		metrics, err := load(string(text[4 : 4+n]))
		if err != nil {
			return nil, err
		}
		all, text = append(all, metrics...), text[4+n:]
	}
	return all, nil
}

type mark struct{}

func load(s string) ([]metric, error) {
	var stack []any
	line := func() string {
		var l string
		l, s, _ = strings.Cut(s, "\n")
		return l
	}
	popToMark := func() []any {
		for i := len(stack) - 1; i >= 0; i-- {
			if stack[i] == any(mark{}) {
				items := append([]any(nil), stack[i+1:]...)
				stack = stack[:i]
				return items
			}
		}
		panic("no mark")
	}
	for {
		if s == "" {
			return nil, fmt.Errorf("no end")
		}
		op := s[0]
		s = s[1:]
		switch op {
		case '(':
			stack = append(stack, mark{})
		case 'l':
			list := popToMark()
			stack = append(stack, &list)
		case 't':
			stack = append(stack, [1]any{tuple(popToMark())})
		case 'S':
			quoted := line()
			if len(quoted) < 2 || quoted[0] != '\'' || quoted[len(quoted)-1] != '\'' {
				return nil, fmt.Errorf("string %s", quoted)
			}
			inner := quoted[1 : len(quoted)-1]
			var plain strings.Builder
			for i := 0; i < len(inner); i++ {
				if inner[i] == '\\' {
					if i++; i == len(inner) || inner[i] != '\\' {
						return nil, fmt.Errorf("escape in %s", quoted)
					}
				}
				plain.WriteByte(inner[i])
			}
			stack = append(stack, plain.String())
		case 'L':
			v, err := strconv.ParseInt(strings.TrimSuffix(line(), "L"), 10, 64)
			if err != nil {
				return nil, err
			}
			stack = append(stack, v)
		case 'a':
			item := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			list := stack[len(stack)-1].(*[]any)
			*list = append(*list, item)
		case '.':
			if s != "" || len(stack) != 1 {
				return nil, fmt.Errorf("%d bytes after the end, %d items on the stack", len(s), len(stack))
			}
			var metrics []metric
			for _, item := range *stack[0].(*[]any) {
				m, ok := item.([1]any)
				if !ok {
					return nil, fmt.Errorf("a list of %T", item)
				}
				metrics = append(metrics, m[0].(metric))
			}
			return metrics, nil
		default:
			return nil, fmt.Errorf("unknown opcode %q", op)
		}
	}
}

// tuple makes (timestamp, value) a pair and (name, pair) a metric.
func tuple(items []any) any {
	if len(items) == 2 {
		if pair, ok := items[1].([1]any); ok {
			m := pair[0].(metric)
			m.Name = items[0].(string)
			return m
		}
		return metric{Timestamp: items[0].(int64), Value: items[1].(string)}
	}
	panic(fmt.Sprintf("tuple of %d", len(items)))
}
