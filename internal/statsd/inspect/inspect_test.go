package inspect

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestSprintMatchesNode compares with the real util.inspect.
func TestSprintMatchesNode(t *testing.T) {
	numbers := func(n, factor int) (a Array) {
		for i := range n {
			a = append(a, float64(i*factor%977))
		}
		return a
	}
	words := Array{"it's", "a \"b\"", "'\"", "x\ny", "\x01", "back\\slash", "ä", ""}
	values := []any{
		Object{}, Array{}, Object{{"g1", 3.0}, {"statsd.timestamp_lag", 0.0}}, Object{{"t1", Array{}}},
		Object{{"statsd.bad_lines_seen", 0.0}, {"statsd.packets_received", 0.0}, {"statsd.metrics_received", 0.0}},
		Object{{"a.b", Array{1.0, 2.0, 9.0}}, {"_x1", "y"}}, words, append(words, words...),
		Object{{"a", Object{{"b", Object{{"c", Object{{"d", 1.0}}}}}}}},
		Object{{"a", Object{{"b", Object{{"c", Array{1.0}}}}}}},
		Object{{"a", Object{{"b", Object{{"c", Object{}}}}}}},
		Object{{"a", Object{{"b", Object{{"c", Object{{"d", Object{{"e", Object{{"f", Object{{"g", 1.0}}}}}}}}}}}}}},
		Object{{"s", Array{strings.Repeat("x", 10000), strings.Repeat("y", 10001), strings.Repeat("z", 10003)}}},
		Array{"\u0085\u009f", "\U0001F600", strings.Repeat("\U0001F600", 30), strings.Repeat("\U0001F600", 40)},
	}
	for _, n := range []int{1, 6, 7, 8, 13, 26, 27, 99, 100, 101, 102, 250} {
		values = append(values, numbers(n, 1), numbers(n, 731), Object{{"deep", Object{{"er", numbers(n, 97)}}}})
	}
	var source strings.Builder
	source.WriteString("const i=require('util').inspect;const v=[")
	for _, v := range values {
		source.WriteString(script(v) + ",")
	}
	source.WriteString("];console.log(JSON.stringify([v.map(x=>i(x)),v.map(x=>i(x,{depth:5,colors:true}))]))")
	out, err := exec.Command("node", "-e", source.String()).Output()
	if err != nil {
		t.Fatalf("cannot run node, which make test installs: %v", err)
	}
	var want [2][]string
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	for i, p := range []Printer{{Depth: 2, Number: number}, {Depth: 5, Number: number, Colors: true}} {
		for j, v := range values {
			if got := p.Sprint(v); got != want[i][j] {
				t.Errorf("\n got %s\nwant %s", got, want[i][j])
			}
		}
	}
}

// script renders v as JavaScript source.
func script(v any) string {
	switch v := v.(type) {
	case Object:
		s := "{"
		for _, e := range v {
			s += script(e.Name) + ":" + script(e.Value) + ","
		}
		return s + "}"
	case Array:
		s := "["
		for _, item := range v {
			s += script(item) + ","
		}
		return s + "]"
	case string:
		b, _ := json.Marshal(v)
		return string(b)
	}
	return fmt.Sprint(v)
}
