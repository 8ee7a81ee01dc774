package connector

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"syscall"

	_ "embed"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/lua/modules"
)

//go:embed prelude/broker.lua
var brokerPrelude string

// functions is the global broker (5.3).
func functions(vm *lua.VM, version string) (*lua.Table, error) {
	chunk, err := vm.Load("=weir/broker.lua", []byte(brokerPrelude))
	if err != nil {
		return nil, err
	}
	encode, err := chunk.Call(lua.Function(eventJSON))
	if err != nil {
		return nil, err
	}
	t := &lua.Table{}
	t.Set("json_encode", encode[0])
	for name, f := range map[string]lua.Function{
		"json_decode":    jsonDecode,
		"parse_perfdata": parsePerfdata,
		"url_encode":     urlEncode,
		"base64_encode":  base64Encode,
		"base64_decode":  base64Decode,
		"md5":            md5Sum,
		"stat":           stat,
		"bbdo_version": func(c *lua.Call) (int, error) {
			c.PushString(version)
			return 1, nil
		},
	} {
		t.Set(name, f)
	}
	return t, nil
}

// eventJSON renders a read-only event (5.3.2); nothing for other userdata.
func eventJSON(c *lua.Call) (int, error) {
	kind, payload, ok := c.Record(1)
	if !ok {
		return 0, nil
	}
	r, err := event.Decode(event.Event{Type: event.Type(kind &^ cached), Payload: payload})
	if err != nil {
		return 0, err
	}
	c.PushBytes(event.RenderV2(r))
	return 1, nil
}

func jsonDecode(c *lua.Call) (int, error) {
	if c.Type(1) != "string" {
		return 0, &lua.ArgumentError{Argument: 1, Message: "string expected, got " + c.Type(1)}
	}
	text, err := c.String(1)
	if err != nil {
		return 0, err
	}
	v, message := modules.DecodeJSON(text)
	if message != "" {
		c.PushNil()
		c.PushString(message)
		return 2, nil
	}
	c.Push(v)
	return 1, nil
}

func urlEncode(c *lua.Call) (int, error) {
	const digits = "0123456789ABCDEF"
	text, err := c.Bytes(1)
	if err != nil {
		return 0, err
	}
	out := make([]byte, 0, len(text)+16)
	for _, b := range text {
		switch {
		case b >= 'A' && b <= 'Z', b >= 'a' && b <= 'z', b >= '0' && b <= '9', b == '-', b == '_', b == '.', b == '~':
			out = append(out, b)
		default:
			out = append(out, '%', digits[b>>4], digits[b&15])
		}
	}
	c.PushBytes(out)
	return 1, nil
}

func base64Encode(c *lua.Call) (int, error) {
	text, err := c.Bytes(1)
	if err != nil {
		return 0, err
	}
	c.PushBytes(base64.StdEncoding.AppendEncode(nil, text))
	return 1, nil
}

func base64Decode(c *lua.Call) (int, error) {
	text, err := c.Bytes(1)
	if err != nil {
		return 0, err
	}
	text = bytes.Map(func(r rune) rune {
		if r == ' ' || r == '\t' || r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, text)
	out, err := base64.RawStdEncoding.AppendDecode(nil, bytes.TrimRight(text, "="))
	if err != nil {
		return 0, &lua.ArgumentError{Argument: 1, Message: "not base64: " + err.Error()}
	}
	c.PushBytes(out)
	return 1, nil
}

func md5Sum(c *lua.Call) (int, error) {
	text, err := c.Bytes(1)
	if err != nil {
		return 0, err
	}
	sum := md5.Sum(text)
	c.PushString(hex.EncodeToString(sum[:]))
	return 1, nil
}

func stat(c *lua.Call) (int, error) {
	path, err := c.String(1)
	if err != nil {
		return 0, err
	}
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		c.PushNil()
		c.PushString(strerror(err))
		return 2, nil
	}
	t := &lua.Table{}
	t.Set("uid", int64(s.Uid))
	t.Set("gid", int64(s.Gid))
	t.Set("size", s.Size)
	t.Set("atime", s.Atim.Sec)
	t.Set("mtime", s.Mtim.Sec)
	t.Set("ctime", s.Ctim.Sec)
	c.Push(t)
	return 1, nil
}

// strerror is the text C gives an error, which begins with a capital letter.
func strerror(err error) string {
	if errors.Is(err, os.ErrNotExist) {
		return "No such file or directory"
	}
	text := []byte(err.Error())
	if len(text) > 0 && text[0] >= 'a' && text[0] <= 'z' {
		text[0] -= 'a' - 'A'
	}
	return string(text)
}
