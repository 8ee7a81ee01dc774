package modules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"sort"
	"strconv"

	"github.com/weirhq/weir/internal/lua"
)

// jsonEncode gives the JSON text of a value: what the module JSON has. Unlike broker.json_encode it is
// always valid: numbers that JSON lacks are null.
func jsonEncode(c *lua.Call) (int, error) {
	v, err := c.Value(1)
	if err != nil {
		return 0, err
	}
	out, err := appendJSON(nil, v)
	if err != nil {
		return 0, &lua.ArgumentError{Argument: 1, Message: err.Error()}
	}
	c.PushBytes(out)
	return 1, nil
}

// appendJSON makes an array of a table with the keys 1 to n, also of an empty one, and an object with sorted
// keys of any other.
func appendJSON(b []byte, v lua.Value) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case float64:
		if math.IsInf(v, 0) || v != v {
			return append(b, "null"...), nil
		}
		return append(b, lua.FormatNumber(v)...), nil
	case string:
		return appendJSONString(b, v), nil
	case *lua.Table:
		if len(v.Hash) > 0 {
			return appendObject(b, v)
		}
		var err error
		b = append(b, '[')
		for i, element := range v.Array {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, element); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	}
	return nil, fmt.Errorf("cannot encode %s as JSON", typeName(v))
}

func typeName(v lua.Value) string {
	switch v := v.(type) {
	case *lua.Ref:
		return "a function"
	case lua.Opaque:
		return "a " + string(v)
	}
	return "a userdata"
}

func appendObject(b []byte, t *lua.Table) ([]byte, error) {
	members := map[string]lua.Value{}
	names := make([]string, 0, len(t.Hash)+len(t.Array))
	for i, v := range t.Array {
		name := strconv.Itoa(i + 1)
		names = append(names, name)
		members[name] = v
	}
	for _, p := range t.Hash {
		var name string
		switch k := p.Key.(type) {
		case string:
			name = k
		case int64:
			name = strconv.FormatInt(k, 10)
		case float64:
			name = lua.FormatNumber(k)
		default:
			return nil, fmt.Errorf("cannot encode a key of a table that is no string and no number")
		}
		if _, twice := members[name]; !twice {
			names = append(names, name)
		}
		members[name] = p.Value
	}
	sort.Strings(names)
	var err error
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(b, name), ':')
		if b, err = appendJSON(b, members[name]); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendJSONString escapes what must be; other bytes stay as they are.
func appendJSONString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\r':
			b = append(b, `\r`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// jsonDecode gives the value of a JSON text, or nil and a message.
func jsonDecode(c *lua.Call) (int, error) {
	text, err := c.String(1)
	if err != nil {
		return 0, err
	}
	v, message := DecodeJSON(text)
	if message != "" {
		c.PushNil()
		c.PushString(message)
		return 2, nil
	}
	c.Push(v)
	return 1, nil
}

// jsonIndent gives a JSON text with a line for each member.
func jsonIndent(c *lua.Call) (int, error) {
	text, err := c.Bytes(1)
	if err != nil {
		return 0, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return 0, err
	}
	c.PushBytes(out.Bytes())
	return 1, nil
}
