package config

import (
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/internal/statsd"
)

// dialect is which lines StatsD understands.
type dialect struct{ to *statsd.Dialect }

var dialects = []string{statsd.Strict.String(), statsd.DogStatsD.String()}

func (v dialect) kind() string { return choice{words: dialects}.kind() }
func (v dialect) yaml() string { return v.to.String() }

func (v dialect) decode(d *decoder, path string, n ast.Node) {
	word := v.yaml()
	choice{&word, dialects}.decode(d, path, n)
	*v.to = statsd.Dialect(slices.Index(dialects, word))
}

// framing is how a stream is cut into packets.
type framing struct{ lengths *bool }

var framings = []string{"lines", "length"}

func (v framing) kind() string { return choice{words: framings}.kind() }

func (v framing) yaml() string {
	if *v.lengths {
		return framings[1]
	}
	return framings[0]
}

func (v framing) decode(d *decoder, path string, n ast.Node) {
	word := v.yaml()
	choice{&word, framings}.decode(d, path, n)
	*v.lengths = word == framings[1]
}

// dialectOptions are what StatsD does beyond the reference daemon with what arrives.
func dialectOptions(s *statsd.Config) []option {
	const forever = 36500 * 24 * time.Hour
	names := func(name string, to *[]string, example, doc string) option {
		return option{name: name, value: list[string]{to: to, what: "names", entry: func(s *string) value { return text{to: s, check: filled} }}, example: example, doc: doc}
	}
	ttl := func(name string, to *time.Duration, doc string) option {
		return option{name: name, value: duration{to: to, least: time.Second, max: forever, off: "for ever"}, reload: true, example: "5m", doc: doc}
	}
	return []option{
		{name: "dialect", value: dialect{&s.Dialect},
			doc: "Which lines are understood: `statsd` is what the StatsD daemon does, to the letter; `dogstatsd` adds what DogStatsD's clients send: see [DogStatsD](statsd.md#dogstatsd)."},
		{name: "container_tag", value: flag{&s.ContainerTag}, doc: "With `dogstatsd`, keep the id of the sender's container as the tag `container_id`. Otherwise it is dropped."},
		{name: "tag_rules", value: list[statsd.TagRule]{to: &s.TagRules, what: "rules", entry: func(r *statsd.TagRule) value {
			return section{options: []option{
				names("names", &r.Names, `["api.*"]`, "Which metrics, without their tags; `*` is any text. An empty list is all."),
				names("drop", &r.Drop, "[pod, host]", "Tags that are taken away."),
				names("keep", &r.Keep, "[region]", "If there are any, all other tags are taken away."),
			}}
		}}, reload: true, example: `[{names: ["api.*"], drop: [pod]}]`,
			doc: "Takes tags from metrics, so that values add up over them. The first rule that fits a name counts. Of gauges that become one the last value stays."},
		{name: "ttl", value: section{options: []option{
			ttl("counters", &s.TTL.Counters, "Counters are forgotten when nothing has arrived for this long, instead of sending 0 for ever."),
			ttl("timers", &s.TTL.Timers, "The same for timers."),
			ttl("gauges", &s.TTL.Gauges, "The same for gauges, which otherwise send the last value."),
			ttl("sets", &s.TTL.Sets, "The same for sets."),
		}}, doc: "How long metrics live without values. `delete_counters` and the others forget them after one flush."},
	}
}
