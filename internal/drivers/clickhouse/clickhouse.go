// Package clickhouse writes series to a table of ClickHouse over its HTTP interface,
// laid out as ntopng's own, and reads them back (specification section 6).
//
// What comes from outside is never part of the text of a statement: it is in
// parameters, which the server takes apart from it.
package clickhouse

import (
	"cmp"
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
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers"
	"github.com/weirhq/weir/timeseries"
)

// Config says where series go.
type Config struct {
	Access   delivery.Access
	Database string // made when it is missing
	Table    string // made when it is missing
	Instance string // column ntopng_instance_name: which of several that share a table wrote a row
}

// Server is a ClickHouse. It implements drivers.Remote.
type Server struct {
	cfg    Config
	client *delivery.Client
	table  string // with the database, quoted
}

var _ drivers.Remote = (*Server)(nil)

// New returns a Server, of which nothing is asked yet.
func New(cfg Config) *Server {
	cfg.Access.Scheme = "Bearer"
	return &Server{cfg: cfg, client: delivery.NewClient(cfg.Access), table: quoteName(cfg.Database) + "." + quoteName(cfg.Table)}
}

func quoteName(name string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(name) + "`"
}

// layout is the table of ntopng (specification section 6).
const layout = ` (schema_name LowCardinality(String), ifid Int16, ntopng_instance_name LowCardinality(String), ` +
	`tstamp DateTime CODEC(Delta, ZSTD), tags Map(LowCardinality(String), String), metrics Map(LowCardinality(String), Float64)) ` +
	`ENGINE = MergeTree PARTITION BY toYYYYMMDD(tstamp) ORDER BY (schema_name, ifid, tstamp)`

// Setup implements drivers.Remote: it makes the database and the table when they are missing.
func (s *Server) Setup(ctx context.Context) error {
	for _, statement := range []string{
		"CREATE DATABASE IF NOT EXISTS " + quoteName(s.cfg.Database),
		"CREATE TABLE IF NOT EXISTS " + s.table + layout,
	} {
		if err := s.command(ctx, statement, nil); err != nil {
			return err
		}
	}
	return nil
}

// command runs a statement whose answer does not matter.
func (s *Server) command(ctx context.Context, statement string, parameters url.Values) error {
	query := url.Values{"wait_end_of_query": {"1"}} // or the status may say that all is well before it is
	maps.Copy(query, parameters)
	return s.client.Ask(ctx, delivery.Request{Method: http.MethodPost, Path: "/", Query: query, Body: []byte(statement)})
}

// lastTime is the last second that the type DateTime can hold.
const lastTime = math.MaxUint32

// Send implements drivers.Remote. A point that comes again is one more row, and read once.
func (s *Server) Send(ctx context.Context, points []timeseries.Point) error {
	var body []byte
	for i := range points {
		if points[i].Time > lastTime {
			return &delivery.Rejected{Reason: fmt.Sprintf("the time %d is after 2106, which DateTime cannot hold", points[i].Time)}
		}
		body = appendRow(body, s.cfg.Instance, &points[i])
	}
	err := s.client.Ask(ctx, delivery.Request{Method: http.MethodPost, Path: "/", Body: body, Query: url.Values{
		"wait_end_of_query": {"1"},
		"query":             {"INSERT INTO " + s.table + " (schema_name, ifid, ntopng_instance_name, tstamp, tags, metrics) FORMAT JSONEachRow"},
	}})
	var rejected *delivery.Rejected
	if errors.As(err, &rejected) && !badData(rejected.Reason) {
		return errors.New(rejected.Error()) // it is not the points that are wrong
	}
	return err
}

// appendRow appends a point in the form JSONEachRow.
func appendRow(dst []byte, instance string, p *timeseries.Point) []byte {
	ifid := int64(0)
	dst = appendText(append(dst, `{"schema_name":`...), p.Schema.Name)
	dst = appendText(append(dst, `,"ntopng_instance_name":`...), instance)
	dst = strconv.AppendInt(append(dst, `,"tstamp":`...), p.Time, 10)
	dst = append(dst, `,"tags":{`...)
	for i, name := range p.Schema.Tags {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendText(dst, name), ':')
		dst = appendText(dst, p.Tags[i])
		if n, err := strconv.ParseInt(p.Tags[i], 10, 16); err == nil && name == "ifid" {
			ifid = n
		}
	}
	dst = append(dst, `},"metrics":{`...)
	first := true
	for m, name := range p.Schema.Metrics {
		if v := p.Values[m]; !math.IsNaN(v) { // a metric that is not there is not known
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(appendText(dst, name), ':')
			dst = strconv.AppendFloat(dst, v, 'g', -1, 64)
		}
	}
	dst = strconv.AppendInt(append(dst, `},"ifid":`...), ifid, 10)
	return append(dst, "}\n"...)
}

// appendText appends a text of JSON.
func appendText(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// The codes of errors that are about values: text that cannot be read, and what does not fit.
var dataCodes = []string{"6", "25", "26", "27", "33", "38", "41", "53", "69", "72", "117", "131", "321", "349", "469"}

// badData reports whether an answer 400 is about the points, and not about the
// table, the rights or the statement, which somebody will put right.
func badData(reason string) bool {
	after, ok := strings.CutPrefix(reason, "Code: ")
	code, _, _ := strings.Cut(after, ".")
	return !ok || slices.Contains(dataCodes, code)
}

// Delete implements drivers.Remote.
func (s *Server) Delete(ctx context.Context, prefix string, tags timeseries.Tags) error {
	w := where{parameters: url.Values{"mutations_sync": {"1"}}}
	if prefix != "" {
		w.add("startsWith(schema_name, " + w.text(prefix+":") + ")")
	}
	if s.cfg.Instance != "" {
		w.add("ntopng_instance_name = " + w.text(s.cfg.Instance))
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		w.add("tags[" + w.text(name) + "] = " + w.text(tags[name]))
	}
	if err := s.command(ctx, "ALTER TABLE "+s.table+" DELETE"+w.clause(), w.parameters); err != nil {
		return fmt.Errorf("cannot delete series of %q: %w", prefix, err)
	}
	return nil
}

// where collects conditions, and the parameters in them.
type where struct {
	conditions []string
	parameters url.Values
	texts      int
}

func (w *where) add(condition string) { w.conditions = append(w.conditions, condition) }

func (w *where) clause() string { return " WHERE " + strings.Join(w.conditions, " AND ") }

// text is a text in a statement: a parameter.
func (w *where) text(value string) string {
	name := "p" + strconv.Itoa(w.texts)
	w.texts++
	w.parameters.Set("param_"+name, parameterEscaper.Replace(value))
	return "{" + name + ":String}"
}

// parameterEscaper writes a parameter as the server reads it.
var parameterEscaper = strings.NewReplacer("\\", "\\\\", "\t", "\\t", "\n", "\\n", "\r", "\\r", "\x00", "\\0", "\b", "\\b", "\f", "\\f")

// of begins the conditions for the series of a schema.
func (s *Server) of(schema *timeseries.Schema, tags timeseries.Tags) *where {
	w := &where{parameters: make(url.Values)}
	w.add("schema_name = " + w.text(schema.Name))
	if n, err := strconv.ParseInt(tags["ifid"], 10, 16); err == nil { // the key of the table has it
		w.add("ifid = " + strconv.FormatInt(n, 10))
	}
	if s.cfg.Instance != "" {
		w.add("ntopng_instance_name = " + w.text(s.cfg.Instance))
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		if name != schema.Packed && slices.Contains(schema.Tags, name) {
			w.add("tags[" + w.text(name) + "] = " + w.text(tags[name]))
		}
	}
	return w
}

// columns are expressions for the tags of a schema, and their names.
func (w *where) columns(schema *timeseries.Schema) (expressions, names []string) {
	for i, name := range schema.Tags {
		names = append(names, "t"+strconv.Itoa(i))
		expressions = append(expressions, "tags["+w.text(name)+"] AS t"+strconv.Itoa(i))
	}
	return expressions, names
}

// metric is an expression for a metric, which a row need not have.
func (w *where) metric(name string) string {
	return "if(mapContains(metrics, " + w.text(name) + "), metrics[" + w.text(name) + "], nan)"
}

// Samples implements drivers.Remote.
func (s *Server) Samples(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	w := s.of(q.Schema, q.Tags)
	after, through := min(max(q.After, -1), lastTime), min(q.Through, lastTime)
	w.add("tstamp > toDateTime(" + strconv.FormatInt(max(after, 0), 10) + ")")
	if after < 0 {
		w.conditions[len(w.conditions)-1] = "tstamp >= toDateTime(0)"
	}
	w.add("tstamp <= toDateTime(" + strconv.FormatInt(through, 10) + ")")
	selected, order := w.columns(q.Schema)
	selected = append(selected, "toUnixTimestamp(tstamp) AS at")
	for _, name := range q.Columns() {
		selected = append(selected, w.metric(name))
	}
	statement := "SELECT " + strings.Join(selected, ", ") + " FROM " + s.table + w.clause() + " ORDER BY " + strings.Join(append(order, "at"), ", ")
	return func(yield func(*timeseries.Samples, error) bool) {
		if after < through && through >= 0 {
			s.samples(ctx, q.Schema, len(q.Columns()), statement, w, yield)
		}
	}
}

// Before implements drivers.Remote.
func (s *Server) Before(ctx context.Context, q timeseries.SampleQuery) iter.Seq2[*timeseries.Samples, error] {
	w := s.of(q.Schema, q.Tags)
	through := min(q.Through, lastTime)
	w.add("tstamp <= toDateTime(" + strconv.FormatInt(max(through, 0), 10) + ")")
	selected, names := w.columns(q.Schema)
	selected = append(selected, "toUnixTimestamp(max(tstamp)) AS at")
	for _, name := range q.Columns() {
		has := "mapContains(metrics, " + w.text(name) + ")"
		selected = append(selected, "if(countIf("+has+") = 0, nan, argMaxIf(metrics["+w.text(name)+"], tstamp, "+has+"))")
	}
	statement := "SELECT " + strings.Join(selected, ", ") + " FROM " + s.table + w.clause()
	if len(names) > 0 {
		statement += " GROUP BY " + strings.Join(names, ", ")
	}
	statement += " HAVING count() > 0" // without tags there would be a row of nothing
	return func(yield func(*timeseries.Samples, error) bool) {
		if through >= 0 {
			s.samples(ctx, q.Schema, len(q.Columns()), statement, w, yield)
		}
	}
}

// Series implements drivers.Remote.
func (s *Server) Series(ctx context.Context, schema *timeseries.Schema, tags timeseries.Tags, start, end int64) iter.Seq2[[]string, error] {
	w := s.of(schema, tags)
	start, end = max(start, 0), min(end, lastTime)
	w.add("tstamp >= toDateTime(" + strconv.FormatInt(min(start, lastTime), 10) + ")")
	w.add("tstamp <= toDateTime(" + strconv.FormatInt(max(end, 0), 10) + ")")
	selected, _ := w.columns(schema)
	statement := "SELECT DISTINCT " + strings.Join(append(selected, "0 AS at"), ", ") + " FROM " + s.table + w.clause()
	return func(yield func([]string, error) bool) {
		if start > end {
			return
		}
		s.samples(ctx, schema, 0, statement, w, func(one *timeseries.Samples, err error) bool {
			if err != nil {
				return yield(nil, err)
			}
			return yield(one.Tags, nil)
		})
	}
}

// samples runs a statement whose rows are the tags, a time and width numbers, rows of one
// series together and in the order of time, and yields the series.
func (s *Server) samples(ctx context.Context, schema *timeseries.Schema, width int, statement string, w *where, yield func(*timeseries.Samples, error) bool) {
	query := url.Values{"output_format_json_quote_denormals": {"0"}} // nan is null
	maps.Copy(query, w.parameters)
	response, err := s.client.Do(ctx, delivery.Request{Method: http.MethodPost, Path: "/", Query: query, Body: []byte(statement + " FORMAT JSONCompactEachRow")})
	if err != nil {
		yield(nil, fmt.Errorf("cannot query %q: %w", schema.Name, err))
		return
	}
	defer response.Body.Close()
	if err := readSamples(response.Body, len(schema.Tags), width, func(one *timeseries.Samples) bool { return yield(one, nil) }); err != nil {
		yield(nil, fmt.Errorf("cannot query %q: cannot read the answer: %w", schema.Name, err))
	}
}

var errRow = errors.New("a row is not tags, a time and numbers")

// readSamples reads rows and calls each for every series. Of two rows with one time the last stays.
func readSamples(body io.Reader, tags, width int, each func(*timeseries.Samples) bool) error {
	decoder := json.NewDecoder(body)
	var one *timeseries.Samples
	for {
		var cells []json.RawMessage
		err := decoder.Decode(&cells)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if len(cells) != tags+1+width {
			return fmt.Errorf("%w: it has %d columns, want %d", errRow, len(cells), tags+1+width)
		}
		values := make([]string, tags)
		for i := range values {
			if err := json.Unmarshal(cells[i], &values[i]); err != nil {
				return fmt.Errorf("%w: %.100s", errRow, cells[i])
			}
		}
		if one == nil || !slices.Equal(one.Tags, values) {
			if one != nil && !each(one) {
				return nil
			}
			one = &timeseries.Samples{Tags: values, Values: make([][]float64, width)}
		}
		if err := addRow(one, cells[tags:]); err != nil {
			return err
		}
	}
	if one != nil {
		each(one)
	}
	return nil
}

// addRow adds a time and its numbers.
func addRow(s *timeseries.Samples, cells []json.RawMessage) error {
	at, err := strconv.ParseInt(string(cells[0]), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: %.100s", errRow, cells[0])
	}
	n := len(s.Times)
	again := n > 0 && s.Times[n-1] == at
	if n > 0 && s.Times[n-1] > at {
		return errors.New("rows are not in the order of time")
	}
	for m, cell := range cells[1:] {
		v := math.NaN()
		if text := string(cell); text != "null" {
			if v, err = strconv.ParseFloat(text, 64); err != nil || math.IsInf(v, 0) {
				return cmp.Or(err, fmt.Errorf("%w: %.100s", errRow, cell))
			}
		}
		if again {
			s.Values[m][n-1] = v
		} else {
			s.Values[m] = append(s.Values[m], v)
		}
	}
	if !again {
		s.Times = append(s.Times, at)
	}
	return nil
}
