package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/statsd"
)

// What StatsD does beyond the reference daemon is read from the file; lengths belong to streams.
func TestDialect(t *testing.T) {
	f := func(text string) (*Config, error) {
		return Parse("weir.yaml", []byte(text))
	}
	c, err := f(`
sources: {statsd: [{listen: "unixgram:///run/a", mode: 0666}, {listen: "tcp://:1", framing: length}]}
statsd: {dialect: dogstatsd, container_tag: true, tag_rules: [{names: [a.*], drop: [b]}, {keep: [c]}], ttl: {sets: 1m}}
`)
	if err != nil {
		t.Fatal(err)
	}
	s := c.StatsD
	want := []statsd.Listen{{Network: "unixgram", Address: "/run/a", Mode: 0o666}, {Network: "tcp", Address: ":1", Lengths: true}}
	if diff := cmp.Diff(want, s.Listen); diff != "" {
		t.Error(diff)
	}
	rules := []statsd.TagRule{{Names: []string{"a.*"}, Drop: []string{"b"}}, {Keep: []string{"c"}}}
	if diff := cmp.Diff(rules, s.TagRules); diff != "" || s.Dialect != statsd.DogStatsD || !s.ContainerTag || s.TTL.Sets.Seconds() != 60 || s.TTL.Gauges != 0 {
		t.Errorf("%v %v %v %s", s.Dialect, s.ContainerTag, s.TTL, diff)
	}
	for text, reason := range map[string]string{
		`sources: {statsd: [{listen: "udp://:1", framing: length}]}`: "only streams are cut into packets",
		`statsd: {dialect: dogstats}`:                                `did you mean "dogstatsd"?`,
		`statsd: {tag_rules: [{drop: [""]}]}`:                        "it must not be empty",
		`sources: {statsd: [{listen: "unixgram://run/a"}]}`:          `did you mean "unixgram:///run/a"?`,
	} {
		if _, err := f(text); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
