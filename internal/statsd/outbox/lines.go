package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// Lines is content of lines of text, each an item.
type Lines func(ctx context.Context, lines [][]byte) error

// Decode implements [delivery.Content].
func (Lines) Decode(dst [][]byte, record []byte) ([][]byte, error) {
	for len(record) > 0 {
		line, rest, _ := bytes.Cut(record, newline)
		if len(line) > 0 {
			dst = append(dst, line)
		}
		record = rest
	}
	return dst, nil
}

var newline = []byte{'\n'}

// Send implements [delivery.Content].
func (send Lines) Send(ctx context.Context, lines [][]byte) error { return send(ctx, lines) }

// Refused implements [delivery.Content].
func (Lines) Refused(lines [][]byte, reason string) (text []byte, about []any, err error) {
	for _, line := range lines {
		j, err := json.Marshal(struct {
			Reason string    `json:"reason"`
			At     time.Time `json:"at"` // when it was rejected
			Line   string    `json:"line"`
		}{reason, time.Now().UTC(), string(line)})
		if err != nil {
			return text, nil, err
		}
		text = append(append(text, j...), '\n')
	}
	return text, []any{"first", string(lines[0][:min(len(lines[0]), 300)])}, nil
}

// Printable is s without what lines of text cannot hold: control characters become
// "_", what is not UTF-8 becomes U+FFFD.
func Printable(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f || s[i] >= utf8.RuneSelf {
			return strings.Map(func(c rune) rune {
				if c < ' ' || c == 0x7f {
					return '_'
				}
				return c
			}, strings.ToValidUTF8(s, "\uFFFD"))
		}
	}
	return s
}
