package timeseries

import (
	"fmt"
	"math"
	"strings"
)

// Point is one set of values of one series at one time.
type Point struct {
	Schema *Schema
	Time   int64     // Unix seconds
	Tags   []string  // one value per tag of the schema, in its order
	Values []float64 // one value per metric of the schema, in its order; NaN where the metric has none now
}

// Validate reports why a driver must refuse the point: a wrong number of tags
// or values, a tag value that is too long or holds a newline or NUL, a negative
// time, an infinite value, or no value at all.
func (p *Point) Validate() error {
	s := p.Schema
	if len(p.Tags) != len(s.Tags) || len(p.Values) != len(s.Metrics) {
		return fmt.Errorf("cannot append to %q: %d tags and %d values, want %d and %d", s.Name, len(p.Tags), len(p.Values), len(s.Tags), len(s.Metrics))
	}
	for i, tag := range p.Tags {
		longest := MaxTagValue
		if s.Packed != "" && s.Tags[i] == s.Packed {
			longest = MaxPacked
			if n := strings.Count(tag, ";"); n >= MaxPackedItems {
				return fmt.Errorf("cannot append to %q: tag %s holds %d tags, at most %d are allowed; it begins %.60q", s.Name, s.Tags[i], n+1, MaxPackedItems, tag)
			}
		}
		if len(tag) > longest {
			return fmt.Errorf("cannot append to %q: tag %s is %d bytes long, at most %d are allowed; it begins %.60q", s.Name, s.Tags[i], len(tag), longest, tag)
		}
		if strings.ContainsAny(tag, "\n\x00") {
			return fmt.Errorf("cannot append to %q: tag %s holds a newline or NUL: %q", s.Name, s.Tags[i], tag)
		}
	}
	if p.Time < 0 {
		return fmt.Errorf("cannot append to %q: time %d is before 1970", s.Name, p.Time)
	}
	known := false
	for i, v := range p.Values {
		if math.IsInf(v, 0) {
			return fmt.Errorf("cannot append to %q: metric %s is infinite", s.Name, s.Metrics[i])
		}
		known = known || !math.IsNaN(v)
	}
	if !known {
		return fmt.Errorf("cannot append to %q: no metric has a value", s.Name)
	}
	return nil
}
