package timeseries

import (
	"fmt"
	"strings"
	"testing"
)

func TestSchemaValidate(t *testing.T) {
	f := func(change func(*Schema), want string) {
		t.Helper()
		s := &Schema{Name: "host:traffic", Step: 60, Tags: []string{"ifid", "tags"}, Metrics: []string{"sent", "rcvd"}, Packed: "tags"}
		change(s)
		err := s.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: got %v, want %q", s, err, want)
		}
	}
	f(func(*Schema) {}, "")
	f(func(s *Schema) { s.Step, s.Heartbeat = MaxStep, MaxStep }, "")
	f(func(s *Schema) { s.Tags, s.Packed = nil, "" }, "")
	for _, name := range []string{"", "host", "host:", ":traffic", "host:a:b", "host:a b", "ho st:a", "host:" + strings.Repeat("x", MaxNameLength)} {
		f(func(s *Schema) { s.Name = name }, "must be prefix:rest")
	}
	f(func(s *Schema) { s.Step = 0 }, "step 0 must be 1 to")
	f(func(s *Schema) { s.Step = MaxStep + 1 }, "must be 1 to")
	f(func(s *Schema) { s.Heartbeat = -1 }, "heartbeat -1")
	f(func(s *Schema) { s.Heartbeat = MaxStep + 1 }, "heartbeat")
	f(func(s *Schema) { s.Metrics = nil }, "0 metrics")
	many := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("n%d", i))
		}
		return list
	}
	f(func(s *Schema) { s.Metrics = many(MaxMetrics) }, "")
	f(func(s *Schema) { s.Metrics = many(MaxMetrics + 1) }, "257 metrics")
	f(func(s *Schema) { s.Tags = many(MaxTags + 1) }, "65 tags")
	f(func(s *Schema) { s.Metrics = []string{"sent", "sent"} }, `"sent" is empty, too long or there twice`)
	f(func(s *Schema) { s.Metrics = []string{"ifid"} }, `"ifid" is empty, too long or there twice`)
	f(func(s *Schema) { s.Tags = []string{""} }, `"" is empty`)
	f(func(s *Schema) { s.Packed = "nothing" }, `packed tag "nothing"`)
}

func TestSchemaPrefixAndHeartbeat(t *testing.T) {
	s := &Schema{Name: "g28:x", Step: 60}
	if s.Prefix() != "g28" || s.Continuous() != 120 {
		t.Errorf("got %q, %d", s.Prefix(), s.Continuous())
	}
	if s.Heartbeat = 3000; s.Continuous() != 3000 {
		t.Errorf("got %d", s.Continuous())
	}
}

func TestPointValidate(t *testing.T) {
	s := &Schema{Name: "host:traffic", Step: 60, Tags: []string{"host"}, Metrics: []string{"sent", "rcvd"}}
	f := func(change func(*Point), want string) {
		t.Helper()
		p := &Point{Schema: s, Time: 60, Tags: []string{"a"}, Values: []float64{1, 2}}
		change(p)
		err := p.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: got %v, want %q", p, err, want)
		}
	}
	f(func(*Point) {}, "")
	f(func(p *Point) { p.Time = 0 }, "")
	f(func(p *Point) { p.Tags[0] = "" }, "")
	f(func(p *Point) { p.Tags[0] = `O'Neil, "x"=1/\` }, "")
	f(func(p *Point) { p.Tags[0] = strings.Repeat("x", MaxTagValue) }, "")
	f(func(p *Point) { p.Values[0] = nan }, "")
	f(func(p *Point) { p.Time = -1 }, "time -1 is before 1970")
	f(func(p *Point) { p.Tags = nil }, "0 tags and 2 values, want 1 and 2")
	f(func(p *Point) { p.Values = p.Values[:1] }, "1 tags and 1 values")
	f(func(p *Point) { p.Tags[0] = strings.Repeat("x", MaxTagValue+1) }, "tag host is 1025 bytes long")
	f(func(p *Point) { p.Tags[0] = "a\nb" }, `tag host holds a newline or NUL: "a\nb"`)
	f(func(p *Point) { p.Tags[0] = "a\x00b" }, "newline or NUL")
	f(func(p *Point) { p.Values[1] = 1 / (p.Values[0] - 1) }, "metric rcvd is infinite")
	f(func(p *Point) { p.Values[0], p.Values[1] = nan, nan }, "no metric has a value")
}
