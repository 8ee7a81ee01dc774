package prometheus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/timeseries"
)

// latest is the last second that is asked for, within what a duration of PromQL can span.
const latest = 9_000_000_000

// lookBack is how long before a range the last value of a counter is looked for.
// Prometheus reads every sample on the way, so there has to be an end.
const lookBack = 24 * int64(time.Hour/time.Second)

// Samples implements drivers.Remote.
func (s *Server) Samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	c := newColumns(q.Schema)
	after, through := min(max(q.After, -1), latest), min(q.Through, latest)
	return func(yield func(*timeseries.Samples, error) bool) {
		if after >= through {
			return
		}
		expression := fmt.Sprintf("%s[%ds]", c.selector(q.Metrics, q.Tags), through-after)
		s.gather(ctx, c, q, expression, after, through, yield)
	}
}

// Before implements drivers.Remote, for values at most a day, or a heartbeat, old.
func (s *Server) Before(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	c := newColumns(q.Schema)
	through := min(q.Through, latest)
	return func(yield func(*timeseries.Samples, error) bool) {
		if through < 0 {
			return
		}
		expression := fmt.Sprintf("last_over_time(%s[%ds])", c.selector(q.Metrics, q.Tags), max(lookBack, q.Schema.Continuous()))
		s.gather(ctx, c, q, expression, -1, through, yield)
	}
}

// Series implements drivers.Remote.
func (s *Server) Series(ctx context.Context, schema *timeseries.Schema, tags timeseries.Tags, start, end int64) iter.Seq2[[]string, error] {
	c := newColumns(schema)
	return func(yield func([]string, error) bool) {
		start, end := max(start, 0), min(end, latest)
		if start > end {
			return
		}
		request := delivery.Request{Method: http.MethodPost, Path: "/api/v1/query", Form: url.Values{
			// A millisecond more, because the left end belongs to a range or not, by the version.
			"query": {fmt.Sprintf("last_over_time(%s[%dms])", c.selector(nil, tags), (end-start)*1000+1)}, "time": {strconv.FormatInt(end, 10)},
		}}
		if start == 0 && end == latest { // without reading samples
			request = delivery.Request{Method: http.MethodPost, Path: "/api/v1/series", Form: url.Values{"match[]": {c.selector(nil, tags)}}}
		}
		seen := make(map[string]bool) // each comes once for every metric
		for one, err := range s.results(ctx, request) {
			if err != nil {
				yield(nil, fmt.Errorf("cannot list series of %q: %w", schema.Name, err))
				return
			}
			values := c.values(one.Metric)
			key := strings.Join(values, "\x00")
			if seen[key] {
				continue
			}
			seen[key] = true
			if !yield(values, nil) {
				return
			}
		}
	}
}

// gather asks for an expression at a time and yields its series when all of their metrics are there.
func (s *Server) gather(ctx context.Context, c *columns, q timeseries.SampleQuery, expression string, after, through int64, yield func(*timeseries.Samples, error) bool) {
	width := len(q.Columns())
	type series struct {
		tags    []string
		metrics []column
	}
	found := make(map[string]*series)
	request := delivery.Request{Method: http.MethodPost, Path: "/api/v1/query", Form: url.Values{"query": {expression}, "time": {strconv.FormatInt(through, 10)}}}
	for one, err := range s.results(ctx, request) {
		if err != nil {
			yield(nil, fmt.Errorf("cannot query %q: %w", q.Schema.Name, err))
			return
		}
		m, ok := c.metrics[one.Metric[model.MetricNameLabel]]
		if ok && q.Metrics != nil {
			m = slices.Index(q.Metrics, m)
		}
		if !ok || m < 0 {
			continue // not asked for
		}
		tags := c.values(one.Metric)
		key := strings.Join(tags, "\x00")
		of := found[key]
		if of == nil {
			of = &series{tags: tags, metrics: make([]column, width)}
			found[key] = of
		}
		samples := one.Values
		if one.Value != nil {
			samples = append(samples, *one.Value)
		}
		for _, sample := range samples {
			if sample.at > after && sample.at <= through {
				of.metrics[m].add(sample)
			}
		}
	}
	for _, of := range found {
		if !yield(join(of.tags, of.metrics), nil) {
			return
		}
	}
}

// column are the samples of one metric, times ascending.
type column struct {
	times  []int64
	values []float64
}

// add adds a sample. Of several in one second the last stays, and nothing goes back in time.
func (c *column) add(s sample) {
	n := len(c.times)
	switch {
	case n > 0 && c.times[n-1] == s.at:
		c.values[n-1] = s.value
	case n == 0 || c.times[n-1] < s.at:
		c.times = append(c.times, s.at)
		c.values = append(c.values, s.value)
	}
}

// join puts the metrics of a series together: NaN where one has no sample at a time of another.
func join(tags []string, metrics []column) *timeseries.Samples {
	s := &timeseries.Samples{Tags: tags, Values: make([][]float64, len(metrics))}
	for _, c := range metrics {
		if !slices.Equal(s.Times, c.times) {
			s.Times = slices.Concat(s.Times, c.times)
			slices.Sort(s.Times)
			s.Times = slices.Compact(s.Times)
		}
	}
	for m, c := range metrics {
		if len(c.times) == len(s.Times) {
			s.Values[m] = c.values
			continue
		}
		values := make([]float64, len(s.Times))
		next := 0
		for i, at := range s.Times {
			if values[i] = math.NaN(); next < len(c.times) && c.times[next] == at {
				values[i] = c.values[next]
				next++
			}
		}
		s.Values[m] = values
	}
	return s
}

// result is a series of an answer.
type result struct {
	Metric map[string]string
	Value  *sample
	Values []sample
}

// sample is a number at a time, in an answer [seconds, "number"].
type sample struct {
	at    int64
	value float64
}

var errSample = errors.New("the answer has a sample that is not a time and a number")

// UnmarshalJSON implements json.Unmarshaler. There may be millions of samples, so
// it takes the two apart itself.
func (s *sample) UnmarshalJSON(text []byte) error {
	inner, ok := bytes.CutPrefix(text, []byte("["))
	inner, closed := bytes.CutSuffix(inner, []byte("]"))
	seconds, number, two := bytes.Cut(inner, []byte(","))
	number = bytes.TrimSpace(number)
	if !ok || !closed || !two || len(number) < 2 || number[0] != '"' || number[len(number)-1] != '"' {
		return fmt.Errorf("%w: %.100s", errSample, text)
	}
	at, err := strconv.ParseFloat(string(bytes.TrimSpace(seconds)), 64)
	if err != nil || !(at >= -latest && at <= 2*latest) {
		return fmt.Errorf("%w: %.100s", errSample, text)
	}
	value, err := strconv.ParseFloat(string(number[1:len(number)-1]), 64)
	if err != nil {
		return fmt.Errorf("%w: %.100s", errSample, text)
	}
	s.at, s.value = int64(math.Floor(at)), value
	return nil
}

// results makes a request and yields what it answers, a series or a set of labels at a time.
func (s *Server) results(ctx context.Context, request delivery.Request) iter.Seq2[*result, error] {
	return func(yield func(*result, error) bool) {
		response, err := s.client.Do(ctx, request)
		if err != nil {
			yield(nil, err)
			return
		}
		defer response.Body.Close()
		if err := readResults(response.Body, func(r *result) bool { return yield(r, nil) }); err != nil {
			yield(nil, fmt.Errorf("cannot read the answer: %w", err))
		}
	}
}

// errEnough ends reading when nobody wants more.
var errEnough = errors.New("enough")

// readResults reads {"status": "success", "data": X}, where X is a list of labels or
// has a list "result" of series, and calls each for every entry of the list.
func readResults(body io.Reader, each func(*result) bool) error {
	decoder := json.NewDecoder(body)
	status, reason := "", ""
	err := object(decoder, func(name string) error {
		switch name {
		case "status":
			return decoder.Decode(&status)
		case "error":
			return decoder.Decode(&reason)
		case "data":
			return data(decoder, each)
		}
		return skip(decoder)
	})
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case status != "success":
		return fmt.Errorf("the server says %.20q: %.500q", status, reason)
	}
	return nil
}

// data reads the member data of an answer.
func data(decoder *json.Decoder, each func(*result) bool) error {
	token, err := decoder.Token()
	switch {
	case err != nil:
		return err
	case token == json.Delim('['):
		return list(decoder, func() error {
			var set map[string]string
			if err := decoder.Decode(&set); err != nil {
				return err
			}
			return enough(each(&result{Metric: set}))
		})
	case token != json.Delim('{'):
		return nil // null
	}
	return members(decoder, func(name string) error {
		if name != "result" {
			return skip(decoder)
		}
		if token, err := decoder.Token(); err != nil || token != json.Delim('[') {
			return errors.Join(err, errors.New("result is not a list"))
		}
		return list(decoder, func() error {
			var r result
			if err := decoder.Decode(&r); err != nil {
				return err
			}
			return enough(each(&r))
		})
	})
}

func enough(more bool) error {
	if more {
		return nil
	}
	return errEnough
}

// object reads an object; each reads the value of a member.
func object(decoder *json.Decoder, each func(name string) error) error {
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		if err == nil {
			err = errors.New("it is not an object")
		}
		return err
	}
	return members(decoder, each)
}

// members reads the rest of an object that has begun.
func members(decoder *json.Decoder, each func(name string) error) error {
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if err := each(name); err != nil {
			return err
		}
	}
	_, err := decoder.Token()
	return err
}

// list reads the rest of a list that has begun.
func list(decoder *json.Decoder, each func() error) error {
	for decoder.More() {
		if err := each(); err != nil {
			return err
		}
	}
	_, err := decoder.Token()
	return err
}

func skip(decoder *json.Decoder) error {
	var value json.RawMessage
	return decoder.Decode(&value)
}
