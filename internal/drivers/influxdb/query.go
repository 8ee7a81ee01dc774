package influxdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers"
	"github.com/weirhq/weir/timeseries"
)

func quoteMeta(s string) string { return regexp.QuoteMeta(s) }

// chunk is how many rows the server sends at a time.
const chunk = "10000"

// earliest and latest are the seconds between which the server knows time.
const (
	earliest = -9_223_372_036
	latest   = 9_223_372_036
)

// Samples implements drivers.Remote.
func (s *Server) Samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	fields := make([]string, 0, len(q.Schema.Metrics))
	for _, name := range q.Columns() {
		fields = append(fields, quoteName(name))
	}
	after, through := min(max(q.After, earliest), latest), min(max(q.Through, earliest), latest)
	statement := "SELECT " + strings.Join(fields, ",") + from(q.Schema, q.Tags) +
		fmt.Sprintf(" AND time > %ds AND time <= %ds", after, through) + groupBy(q.Schema)
	return s.samples(ctx, q.Schema, len(fields), statement)
}

// Before implements drivers.Remote.
func (s *Server) Before(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	fields := make([]string, 0, len(q.Schema.Metrics))
	for _, name := range q.Columns() {
		fields = append(fields, "LAST("+quoteName(name)+")")
	}
	statement := "SELECT " + strings.Join(fields, ",") + from(q.Schema, q.Tags) +
		fmt.Sprintf(" AND time <= %ds", min(max(q.Through, earliest), latest)) + groupBy(q.Schema)
	return s.samples(ctx, q.Schema, len(fields), statement)
}

// Series implements drivers.Remote.
func (s *Server) Series(ctx context.Context, schema *timeseries.Schema, tags timeseries.Tags, start, end int64) iter.Seq2[[]string, error] {
	fields := make([]string, 0, len(schema.Metrics))
	for _, name := range schema.Metrics { // a row is there when one of them is
		fields = append(fields, quoteName(name))
	}
	statement := "SELECT " + strings.Join(fields, ",") + from(schema, tags) +
		fmt.Sprintf(" AND time >= %ds AND time <= %ds", min(max(start, earliest), latest), min(max(end, earliest), latest)) +
		groupBy(schema) + " LIMIT 1"
	return func(yield func([]string, error) bool) {
		for one, err := range s.samples(ctx, schema, len(fields), statement) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(one.Tags, nil) {
				return
			}
		}
	}
}

// from is the measurement and the conditions on its own tags; what is inside the packed
// tag may be anywhere, and is left to the caller.
func from(schema *timeseries.Schema, tags timeseries.Tags) string {
	own := make(timeseries.Tags)
	for name, value := range tags {
		if name != schema.Packed && slices.Contains(schema.Tags, name) {
			own[name] = value
		}
	}
	text := " FROM " + quoteName(schema.Name) + " WHERE "
	if len(own) == 0 {
		return text + "1=1"
	}
	return text + conditions(own)
}

// groupBy makes a series of the answer of every series.
func groupBy(schema *timeseries.Schema) string {
	if schema.Packed != "" {
		return " GROUP BY *"
	}
	if len(schema.Tags) == 0 {
		return ""
	}
	names := make([]string, len(schema.Tags))
	for i, name := range schema.Tags {
		names[i] = quoteName(name)
	}
	return " GROUP BY " + strings.Join(names, ",")
}

// row is a series, or a part of one, in an answer.
type row struct {
	Name   string
	Tags   map[string]string
	Values table
}

// table are rows of cells, as text of JSON. There may be millions of them.
type table json.RawMessage

// UnmarshalJSON implements json.Unmarshaler.
func (t *table) UnmarshalJSON(text []byte) error {
	*t = append((*t)[:0], text...)
	return nil
}

// rows calls each for every row, with cells that are valid until it returns. The
// text is JSON already; what is no list of lists of plain values is an error.
func (t table) rows(each func(cells [][]byte) error) error {
	var cells [][]byte
	depth, start := 0, 0
	for i := 0; i < len(t); i++ {
		switch t[i] {
		case '"':
			for i++; i < len(t) && t[i] != '"'; i++ {
				if t[i] == '\\' {
					i++
				}
			}
		case '[':
			if depth++; depth == 2 {
				cells, start = cells[:0], i+1
			}
			if depth > 2 {
				return errRow
			}
		case '{':
			return errRow
		case ',':
			if depth == 2 {
				cells = append(cells, bytes.TrimSpace(t[start:i]))
				start = i + 1
			}
		case ']':
			if depth == 2 {
				if err := each(append(cells, bytes.TrimSpace(t[start:i]))); err != nil {
					return err
				}
			}
			depth--
		}
	}
	return nil
}

// samples asks a question whose rows are a time and width numbers, and yields whole series.
func (s *Server) samples(ctx context.Context, schema *timeseries.Schema, width int, statement string) iter.Seq2[*timeseries.Samples, error] {
	return func(yield func(*timeseries.Samples, error) bool) {
		flat := drivers.NewFlat(schema)
		one := &timeseries.Samples{}
		var tags map[string]string // of one
		for r, err := range s.rows(ctx, http.MethodGet, statement) {
			if err != nil {
				yield(nil, fmt.Errorf("cannot query %q: %w", schema.Name, err))
				return
			}
			if tags == nil || !maps.Equal(tags, r.Tags) {
				if tags != nil && !yield(one, nil) {
					return
				}
				if tags = r.Tags; tags == nil {
					tags = map[string]string{}
				}
				one = &timeseries.Samples{Tags: flat.Values(tags), Values: make([][]float64, width)}
			}
			if err := r.Values.rows(func(cells [][]byte) error { return addRow(one, cells) }); err != nil {
				yield(nil, fmt.Errorf("cannot query %q: %w", schema.Name, err))
				return
			}
		}
		if tags != nil {
			yield(one, nil)
		}
	}
}

var errRow = errors.New("the answer has a row that is not a time and numbers")

// addRow adds a time and its values.
func addRow(s *timeseries.Samples, values [][]byte) error {
	if len(values) != 1+len(s.Values) {
		return errRow
	}
	at, err := strconv.ParseInt(string(values[0]), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %.100s", errRow, values[0])
	}
	if n := len(s.Times); n > 0 && s.Times[n-1] >= at {
		return errors.New("the answer is not in the order of time")
	}
	for m, text := range values[1:] {
		v := math.NaN()
		if string(text) != "null" {
			if v, err = strconv.ParseFloat(string(text), 64); err != nil {
				return fmt.Errorf("%w: %.100s", errRow, text)
			}
		}
		s.Values[m] = append(s.Values[m], v)
	}
	s.Times = append(s.Times, at)
	return nil
}

// rows runs a statement and yields the series of its answer as they come, times in
// seconds; long ones in several parts.
func (s *Server) rows(ctx context.Context, method, statement string) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		request := delivery.Request{Method: method, Path: "/query", Header: map[string]string{"Accept": "application/json"}}
		parameters := url.Values{"q": {statement}, "epoch": {"s"}, "chunked": {"true"}, "chunk_size": {chunk}, "db": {s.cfg.Database}}
		if s.second() {
			parameters.Set("db", s.cfg.Bucket) // each bucket can be asked for as a database
			parameters.Set("org", s.cfg.Organization)
		}
		if request.Query = parameters; method == http.MethodPost {
			request.Form, request.Query = parameters, nil
		}
		response, err := s.client.Do(ctx, request)
		if err != nil {
			yield(row{}, err)
			return
		}
		defer response.Body.Close()
		readRows(response.Body, yield)
	}
}

// readRows yields the series of an answer, and its error.
func readRows(body io.Reader, yield func(row, error) bool) {
	decoder := json.NewDecoder(body)
	more := true // something has to come
	for {
		var part struct {
			Error   string
			Results []struct {
				Error   string
				Series  []row
				Partial bool
			}
		}
		switch err := decoder.Decode(&part); {
		case err == io.EOF && !more:
			return
		case err == io.EOF:
			yield(row{}, errors.New("the answer ends early"))
			return
		case err != nil:
			yield(row{}, fmt.Errorf("cannot read the answer: %w", err))
			return
		case part.Error != "":
			yield(row{}, fmt.Errorf("the server says %.500q", part.Error))
			return
		}
		more = false
		for _, result := range part.Results {
			more = result.Partial
			for _, r := range result.Series {
				if !yield(r, nil) {
					return
				}
			}
			if result.Error != "" {
				yield(row{}, fmt.Errorf("the server says %.500q", result.Error))
				return
			}
		}
	}
}

// deleteSecond deletes measurement by measurement: 2.x knows no expressions there.
func (s *Server) deleteSecond(ctx context.Context, prefix string, tags timeseries.Tags) error {
	statement := "SHOW MEASUREMENTS"
	if prefix != "" {
		statement += " WITH MEASUREMENT =~ " + quotePrefix(prefix)
	}
	var names []string
	for r, err := range s.rows(ctx, http.MethodGet, statement) {
		if err != nil {
			return fmt.Errorf("cannot delete series of %q: %w", prefix, err)
		}
		err := r.Values.rows(func(cells [][]byte) error {
			var name string
			if json.Unmarshal(cells[0], &name) != nil {
				return errRow
			}
			names = append(names, name)
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot delete series of %q: %w", prefix, err)
		}
	}
	for _, name := range names {
		predicate := `_measurement=` + quotePredicate(name)
		for _, tag := range slices.Sorted(maps.Keys(tags)) {
			predicate += " AND " + quotePredicate(tag) + "=" + quotePredicate(storedValue(tags[tag]))
		}
		body, err := json.Marshal(map[string]string{"start": "1970-01-01T00:00:00Z", "stop": "2262-04-11T00:00:00Z", "predicate": predicate})
		if err != nil {
			return err
		}
		err = s.client.Ask(ctx, delivery.Request{
			Method: http.MethodPost, Path: "/api/v2/delete", Body: body,
			Query: url.Values{"bucket": {s.cfg.Bucket}, "org": {s.cfg.Organization}}, Header: map[string]string{"Content-Type": "application/json"},
		})
		if err != nil {
			return fmt.Errorf("cannot delete series of %q: %w", name, err)
		}
	}
	return nil
}

// quotePredicate is a name or text in a predicate of 2.x.
func quotePredicate(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
