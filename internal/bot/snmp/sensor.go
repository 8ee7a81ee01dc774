package snmp

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// maxOIDs bounds the OIDs of one sensor.
const maxOIDs = 100

// sensor is what to fetch and what to make of it. It does not change.
type sensor struct {
	requests   []request
	driver     int // the first OID that is walked, whose rows there are; -1 for none
	expression *expression
	path       template
}

// newSensor reads the details of a sensor (section 4.5).
func newSensor(of *collector.SensorConfig) (*sensor, error) {
	var details struct {
		OIDs []struct {
			OID    string `json:"oid"`
			Method string `json:"fetch_method"`
		} `json:"oids"`
		Expression string `json:"expression"`
		OutputPath string `json:"output_path"`
	}
	if err := bot.Details(of.Details, &details); err != nil {
		return nil, err
	}
	if len(details.OIDs) == 0 || len(details.OIDs) > maxOIDs {
		return nil, fmt.Errorf("cannot use its %d OIDs: there must be 1 to %d", len(details.OIDs), maxOIDs)
	}
	s := &sensor{driver: -1}
	for i, one := range details.OIDs {
		oid, err := checkOID(one.OID)
		if err != nil {
			return nil, err
		}
		if one.Method != "get" && one.Method != "walk" {
			return nil, fmt.Errorf("cannot use the fetch_method %q of %s: it must be get or walk", shortened(one.Method), oid)
		}
		walk := one.Method == "walk"
		if walk && s.driver < 0 {
			s.driver = i
		}
		s.requests = append(s.requests, request{oid, walk})
	}
	var err error
	if s.expression, err = parseExpression(details.Expression, len(s.requests)); err != nil {
		return nil, err
	}
	s.path, err = parseTemplate(details.OutputPath, len(s.requests), s.driver >= 0)
	return s, err
}

// Why a row has no value.
var (
	errFirst      = errors.New("a counter was asked for the first time")
	errReset      = errors.New("a counter began anew")
	errIncomplete = errors.New("not every OID has that index")
	errText       = errors.New("the expression needs a number")
)

// rows makes a value of every row of a sensor: a row that all OIDs have at one index, or the only one.
// An error is that an OID could not be fetched, so that there is no row.
func (s *sensor) rows(found answers, counters *baselines, prefix string, each func(path []byte, value float64, err error)) error {
	row := row{sensor: s, counters: counters, prefix: prefix, variables: make([]*variable, len(s.requests)), numbers: make([]float64, len(s.requests))}
	for i, wanted := range s.requests {
		a := found[wanted]
		if a.err != nil {
			return fmt.Errorf("cannot fetch %s: %w", wanted.oid, a.err)
		}
		row.variables[i] = a.one
	}
	if s.driver < 0 {
		each(row.value(""))
		return nil
	}
	driver := found[s.requests[s.driver]]
	for i := range driver.rows {
		index := driver.rows[i].index
		for j, wanted := range s.requests {
			if wanted.walk {
				row.variables[j] = found[wanted].byIndex(index)
			}
		}
		each(row.value(index))
	}
	return nil
}

// row is where one is put together.
type row struct {
	*sensor
	counters  *baselines
	prefix    string
	variables []*variable
	numbers   []float64
	buffer    []byte
}

// value is that of the row, with its path. The path holds until the next one.
func (r *row) value(index string) ([]byte, float64, error) {
	var none error
	for i, v := range r.variables {
		switch {
		case v == nil:
			none = errIncomplete
		case v.bits == 0:
			r.numbers[i] = v.number
		default:
			rate, state := r.counters.rate(v)
			r.numbers[i] = rate
			switch { // all counters of the row are noted
			case none != nil || state == rateKnown:
			case state == rateFirst:
				none = errFirst
			default:
				none = errReset
			}
		}
	}
	if none != nil {
		return nil, 0, none
	}
	for _, ref := range r.expression.refs {
		if v := r.variables[ref-1]; !v.numeric {
			return nil, 0, fmt.Errorf("%w, and $%d is %q", errText, ref, shortened(v.text))
		}
	}
	value, err := r.expression.of(r.numbers)
	if err != nil {
		return nil, 0, err
	}
	r.buffer = r.path.fill(append(r.buffer[:0], r.prefix...), index, r.text)
	return r.buffer, value, nil
}

// text is what a value is in paths.
func (r *row) text(ref int) string {
	v := r.variables[ref-1]
	if v.bits != 0 {
		return strconv.FormatFloat(r.numbers[ref-1], 'f', -1, 64)
	}
	return v.text
}
