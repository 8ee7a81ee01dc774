package prometheus

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
)

// parameters are those of one request: from the URL, and from the form of a POST.
// The first error of a reading method stays.
type parameters struct {
	values url.Values
	now    time.Time
	err    error
}

func readParameters(w http.ResponseWriter, r *http.Request, now time.Time) (*parameters, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, &failure{http.StatusRequestEntityTooLarge, "bad_data", fmt.Sprintf("the form is larger than %d bytes", tooLarge.Limit)}
		}
		return nil, &failure{http.StatusBadRequest, "bad_data", "cannot read the form: " + err.Error()}
	}
	return &parameters{values: r.Form, now: now}, nil
}

func (p *parameters) get(name string) string { return p.values.Get(name) }

func (p *parameters) fail(name, value, right string) {
	if p.err == nil {
		p.err = badParameter(name, value, right)
	}
}

// Times that can be asked for; every second between them is a number of milliseconds.
const earliest = -latest

// time reads Unix seconds or RFC 3339.
func (p *parameters) time(name string, otherwise time.Time) time.Time {
	text := p.get(name)
	if text == "" {
		return otherwise
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if math.IsNaN(seconds) || seconds < earliest || seconds > latest {
			p.fail(name, text, "it is out of range")
			return otherwise
		}
		return time.UnixMilli(int64(math.Round(seconds * 1000)))
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err == nil:
		return t
	case text == firstTime:
		return time.Unix(0, 0)
	case text == lastTime:
		return time.Unix(latest, 0)
	}
	p.fail(name, text, "want Unix seconds, or RFC 3339 such as 2025-01-31T12:00:00Z")
	return otherwise
}

// What clients of Prometheus send for no bound at all.
const (
	firstTime = "-292273086-05-16T16:47:06Z"
	lastTime  = "292277025-08-18T07:12:54.999999999Z"
)

// duration reads seconds, or a duration such as 5m; it is never negative.
func (p *parameters) duration(name string, otherwise time.Duration) time.Duration {
	text := p.get(name)
	if text == "" {
		return otherwise
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if !(seconds >= 0 && seconds < math.MaxInt64/float64(time.Second)) {
			p.fail(name, text, "it is negative or too long")
			return otherwise
		}
		return time.Duration(seconds * float64(time.Second))
	}
	d, err := model.ParseDuration(text)
	if err != nil {
		p.fail(name, text, "want seconds, or a duration such as 15s, 5m or 1h30m")
		return otherwise
	}
	return time.Duration(d)
}

// limit reads how many series or names the answer may have; 0 is no limit.
func (p *parameters) limit() int { return p.number("limit") }

func (p *parameters) number(name string) int {
	text := p.get(name)
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		p.fail(name, text, "want a whole number, 0 for no limit")
		return 0
	}
	return n
}
