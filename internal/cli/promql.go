package cli

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/prometheus"
)

// promql is a question in the language of Prometheus.
type promql struct{ expression, step string }

// promqlPoints is about how many points a range has when no step is given.
const promqlPoints = 60

func (p *promql) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.expression, "promql", "", "answer an expression in PromQL: at --end, or from --start to --end when --start or --step is given")
	cmd.Flags().StringVar(&p.step, "step", "", "with --promql, between two points: seconds, or a duration such as 15s or 5m (default a 60th of the range)")
	cmd.MarkFlagsMutuallyExclusive("promql", "points")
	cmd.MarkFlagsMutuallyExclusive("promql", "group-by")
}

// ask answers the expression over the range of q.
func (p *promql) ask(cmd *cobra.Command, q *question, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("cannot use %q: --promql takes one expression in quotes, and a schema is one of its labels: {schema=%q}", args[0], args[0])
	}
	c, err := q.client()
	if err != nil {
		return err
	}
	path, parameters, err := p.parameters(q, cmd.Flags().Changed("start") || p.step != "")
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if q.json {
		return c.copyAnswer(cmd.Context(), out, path, parameters)
	}
	var answer promqlAnswer
	if err := c.decode(cmd.Context(), path, parameters, &answer); err != nil {
		return err
	}
	for _, warning := range answer.Warnings {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning:", word(warning))
	}
	list, err := answer.series()
	if err != nil {
		return failure{fmt.Errorf("cannot read the answer of %s: %w", c.base.Redacted(), err)}
	}
	if q.csv {
		err = writePromqlCSV(out, list)
	} else {
		_, err = out.Write(promqlTable(list, answer.Data.ResultType))
	}
	if err == nil && len(list) == 0 {
		err = failure{errors.New("no series has a value there")}
	}
	return err
}

// parameters are those of the HTTP API, which takes a step or answers at one time.
func (p *promql) parameters(q *question, ranging bool) (path string, v url.Values, err error) {
	now := time.Now()
	end, err := api.ParseTime(q.end, now)
	if err != nil {
		return "", nil, fmt.Errorf("cannot use --end %q: %w", q.end, err)
	}
	v = url.Values{"query": {p.expression}}
	const base = prometheus.Prefix + "/api/v1/"
	if !ranging {
		v.Set("time", strconv.FormatInt(end, 10))
		return base + "query", v, nil
	}
	start, err := api.ParseTime(q.start, now)
	if err != nil {
		return "", nil, fmt.Errorf("cannot use --start %q: %w", q.start, err)
	}
	v.Set("start", strconv.FormatInt(start, 10))
	v.Set("end", strconv.FormatInt(end, 10))
	v.Set("step", cmp.Or(p.step, strconv.FormatInt(max(1, (end-start+promqlPoints-1)/promqlPoints), 10)))
	return base + "query_range", v, nil
}

// promqlAnswer is an answer of the HTTP API of Prometheus.
type promqlAnswer struct {
	Data struct {
		ResultType string
		Result     json.RawMessage
	}
	Warnings []string
}

// promqlSeries is one series of an answer; text stands for a value that is one.
type promqlSeries struct {
	Metric map[string]string
	Value  promqlPoint
	Values []promqlPoint
	text   string
}

// promqlPoint is a time in Unix seconds and a value.
type promqlPoint struct {
	at    float64
	value float64
	text  string // of the value, as it came
}

// UnmarshalJSON reads [time, "value"].
func (p *promqlPoint) UnmarshalJSON(text []byte) error {
	pair := []any{&p.at, &p.text}
	if err := json.Unmarshal(text, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("cannot use %s as a point: want a time and a value", text)
	}
	p.value, _ = strconv.ParseFloat(p.text, 64) // the text of a string is no number, and shown as it is
	return nil
}

// series are those of the answer, of which a scalar or a text is one without labels.
func (a *promqlAnswer) series() ([]promqlSeries, error) {
	switch a.Data.ResultType {
	case "scalar", "string":
		var s promqlSeries
		if err := json.Unmarshal(a.Data.Result, &s.Value); err != nil {
			return nil, err
		}
		if a.Data.ResultType == "string" {
			s.text = s.Value.text
		}
		s.Values = []promqlPoint{s.Value}
		return []promqlSeries{s}, nil
	}
	var list []promqlSeries
	if err := json.Unmarshal(a.Data.Result, &list); err != nil {
		return nil, err
	}
	for i := range list {
		if a.Data.ResultType == "vector" {
			list[i].Values = []promqlPoint{list[i].Value}
		}
	}
	return list, nil
}

// words are the name and the labels of a series, for people.
func (s *promqlSeries) words() string {
	var all []string
	if name := s.Metric["__name__"]; name != "" {
		all = append(all, word(name))
	}
	for _, label := range slices.Sorted(maps.Keys(s.Metric)) {
		if label != "__name__" {
			all = append(all, word(label)+"="+word(s.Metric[label]))
		}
	}
	return cmp.Or(strings.Join(all, " "), "(no labels)")
}

// promqlTable renders an answer for people: a row per series, or a table for each of
// those that have many points.
func promqlTable(list []promqlSeries, kind string) []byte {
	var out bytes.Buffer
	switch kind {
	case "string":
		for _, s := range list {
			out.WriteString(word(s.text) + "\n")
		}
	case "scalar":
		for _, s := range list {
			out.WriteString(number(s.Value.value) + "\n")
		}
	case "vector":
		if len(list) == 0 {
			break
		}
		t := table{left: 1}
		t.add("SERIES", "VALUE")
		for _, s := range list {
			t.add(s.words(), number(s.Value.value))
		}
		t.write(&out, 0)
	default:
		for i, s := range list {
			if i > 0 {
				out.WriteByte('\n')
			}
			out.WriteString(s.words() + "\n")
			t := table{indent: "  ", left: 1}
			t.add("TIME ("+moment(s.Values, 0).Format("MST")+")", "VALUE")
			for k, p := range s.Values {
				t.add(moment(s.Values, k).Format(time.DateTime), number(p.value))
			}
			t.write(&out, 0)
		}
	}
	return out.Bytes()
}

// moment is the time of point i, of the present when there is none.
func moment(points []promqlPoint, i int) time.Time {
	if i >= len(points) {
		return time.Now().In(zone)
	}
	return time.UnixMilli(int64(points[i].at * 1000)).In(zone)
}

// writePromqlCSV prints a line per series and time, with a column per label.
func writePromqlCSV(w io.Writer, list []promqlSeries) error {
	labels := make(map[string]bool)
	for _, s := range list {
		for label := range s.Metric {
			labels[label] = true
		}
	}
	names := slices.Sorted(maps.Keys(labels))
	out := csv.NewWriter(w)
	_ = out.Write(append(append([]string{"time"}, names...), "value")) // errors stay until Error
	for _, s := range list {
		for _, p := range s.Values {
			row := []string{time.UnixMilli(int64(p.at * 1000)).UTC().Format(time.RFC3339Nano)}
			for _, name := range names {
				row = append(row, s.Metric[name])
			}
			_ = out.Write(append(row, p.text))
		}
	}
	out.Flush()
	return out.Error()
}
