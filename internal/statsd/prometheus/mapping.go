package prometheus

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/statsd/tags"
)

// Rule says what becomes of the metrics whose name matches. The first rule that
// matches counts; without one, a metric keeps its name and its tags.
type Rule struct {
	// Match is a name without tags in which "*" stands for one or more characters that are not ".".
	Match  string
	Type   string            // "counter", "gauge", "timer", "set", or "" for all of them
	Drop   bool              // the metrics are left out
	Name   string            // of the metric; "$1" is what the first "*" stands for; "" keeps the name
	Labels map[string]string // besides the tags, before which they come; "$1" as in Name
	Timers string            // "summary" or "histogram"; "" is that of the Config
	Scale  float64           // what values are multiplied with, such as 0.001 for seconds; 0 is 1
	TTL    time.Duration     // 0 is that of the Config
}

// rule is a Rule ready to be used.
type rule struct {
	Rule
	pattern *regexp.Regexp
}

// Check reports what is wrong with a Rule.
func (r Rule) Check() error {
	_, err := r.compile()
	return err
}

func (r Rule) compile() (*rule, error) {
	if r.Match == "" {
		return nil, fmt.Errorf("cannot use a rule without a name to match: write for example %q", "app.*.requests")
	}
	parts := strings.Split(r.Match, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	pattern, err := regexp.Compile("^" + strings.Join(parts, `([^.]+)`) + "$")
	if err != nil {
		return nil, fmt.Errorf("cannot use the rule for %.200q: %w", r.Match, err)
	}
	check := func(template string) error {
		for _, m := range reference.FindAllStringSubmatch(template, -1) {
			if n, err := strconv.Atoi(m[1] + m[2]); err != nil || n < 1 || n >= len(parts) {
				return fmt.Errorf(`cannot use the rule for %.200q: %q in %.200q stands for nothing, because the rule has %d "*"`, r.Match, m[0], template, len(parts)-1)
			}
		}
		return nil
	}
	if err := check(r.Name); err != nil {
		return nil, err
	}
	for name, value := range r.Labels {
		if labelName(name) != name {
			return nil, fmt.Errorf("cannot use the rule for %.200q: %q cannot be the name of a label: write for example %q", r.Match, name, labelName(name))
		}
		if err := check(value); err != nil {
			return nil, err
		}
	}
	if r.Scale == 0 {
		r.Scale = 1
	}
	return &rule{r, pattern}, nil
}

var reference = regexp.MustCompile(`\$(?:(\d+)|\{(\d+)\})`)

// fill puts what the stars stand for into a template.
func fill(template string, stars []string) string {
	if !strings.Contains(template, "$") {
		return template
	}
	return reference.ReplaceAllStringFunc(template, func(ref string) string {
		n, err := strconv.Atoi(strings.Trim(ref, "${}"))
		if err != nil || n >= len(stars) {
			return ref // compile lets none through
		}
		return stars[n]
	})
}

// apply returns the name and the labels of a metric that matches.
func (r *rule) apply(name string, stars []string, labels []tags.Tag) (string, []tags.Tag) {
	for label, value := range r.Labels {
		if value = fill(value, stars); value != "" {
			labels = tags.Set(labels, 0, tags.Tag{Name: label, Value: value})
		}
	}
	if r.Name != "" {
		name = fill(r.Name, stars)
	}
	return name, labels
}

// metricName is name with what Prometheus does not take in names as "_".
func metricName(name string) string {
	return plain(name, func(c byte) bool { return c == ':' })
}

// labelName is the same for labels. Those that mean something to Prometheus get
// the prefix that it gives them itself.
func labelName(name string) string {
	name = plain(name, func(byte) bool { return false })
	if name == "le" || name == "quantile" || strings.HasPrefix(name, "__") {
		return "exported_" + name
	}
	return name
}

func plain(name string, also func(byte) bool) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || also(c)
		digit := c >= '0' && c <= '9'
		if i == 0 && digit {
			b.WriteByte('_')
		}
		if letter || digit {
			b.WriteByte(c)
		} else {
			b.WriteByte('_')
		}
	}
	if name == "" {
		return "_"
	}
	return b.String()
}
