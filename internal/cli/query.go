package cli

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/timeseries"
)

func queryCommand() *cobra.Command {
	var q question
	var points int
	var groupBy []string
	var consolidation, resolution string
	var p promql
	cmd := &cobra.Command{
		Use:   "query [SCHEMA [TAG=VALUE ...]]",
		Short: "Ask a running Weir for points over time; without a schema, for the schemas there are",
		Long: `Ask a running Weir for the points of one schema over time.

Series that match the tags are added up; --group-by gives each value of a tag
series of its own. Tags inside a packed tag (StatsD's own) are used like any
other. Times are local, set TZ=UTC for UTC; a value covers the step that ends at
its time, and - means that there is none.

Without a schema the schemas are listed.

With --promql an expression in the language of Prometheus is answered instead:
the metric of a schema is SCHEMA_METRIC with "_" for every ":" and ".", and its tags
are labels. --json then prints the answer as Prometheus would.`,
		Example: `  weir query statsd:counter name=api.requests
  weir query statsd:timer name=db.query --start -6h --points 72
  weir query statsd:counter --group-by name,region --csv
  weir query --promql 'sum by (region) (statsd_counter_rate)'
  weir query --promql 'topk(3, rate(if_traffic_in[5m]))' --start -6h --step 5m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case p.expression != "":
				return p.ask(cmd, &q, args)
			case p.step != "":
				return errors.New("cannot use --step without --promql: --points says how many points there are")
			}
			c, err := q.client()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if len(args) == 0 {
				if q.json {
					return c.copyAnswer(cmd.Context(), out, "api/v1/schemas", nil)
				}
				all, err := c.schemas(cmd.Context())
				if err != nil {
					return err
				}
				return writeSchemas(out, all, q.csv)
			}
			parameters, err := q.parameters(args)
			if err != nil {
				return err
			}
			parameters.Set("points", strconv.Itoa(points))
			set(parameters, "group_by", strings.Join(groupBy, ","))
			set(parameters, "consolidation", consolidation)
			set(parameters, "resolution", resolution)
			if q.json {
				return c.copyAnswer(cmd.Context(), out, "api/v1/query", parameters)
			}
			var result timeseries.Result
			if err := c.decode(cmd.Context(), "api/v1/query", parameters, &result); err != nil {
				return err
			}
			if q.csv {
				err = writeResultCSV(out, &result, groupBy)
			} else {
				_, err = out.Write(resultTable(&result, groupBy, terminalWidth(out), zone))
			}
			if err == nil && !slices.ContainsFunc(result.Series, hasValue) {
				err = failure{errors.New("no point of this range has a value")}
			}
			return err
		},
	}
	q.register(cmd, "-1h", "now")
	cmd.Flags().IntVar(&points, "points", 60, "points per series, at most 10000")
	cmd.Flags().StringSliceVar(&groupBy, "group-by", nil, "tags whose values get series of their own")
	cmd.Flags().StringVar(&consolidation, "consolidation", "", "mean, max or min of the raw points in a longer step, rather than what the schema says")
	cmd.Flags().StringVar(&resolution, "resolution", "", "raw, 1m, 1h or 1d: read these wherever they are kept")
	p.register(cmd)
	return cmd
}

func writeSchemas(w io.Writer, all []schema, asCSV bool) error {
	if len(all) == 0 {
		return failure{errors.New("nothing is stored yet")}
	}
	if asCSV {
		rows := [][]string{{"schema", "type", "step", "tags", "metrics"}}
		for _, s := range all {
			rows = append(rows, []string{s.Name, s.Type, strconv.FormatInt(s.Step, 10), strings.Join(s.Tags, " "), strings.Join(s.Metrics, " ")})
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
	t := table{left: 5}
	t.add("SCHEMA", "TYPE", "STEP", "TAGS", "METRICS")
	for _, s := range all {
		t.add(word(s.Name), s.Type, strconv.FormatInt(s.Step, 10)+" s", words(s.Tags), words(s.Metrics))
	}
	var out bytes.Buffer
	t.write(&out, 0)
	_, err := w.Write(out.Bytes())
	return err
}

func words(list []string) string {
	shown := make([]string, len(list))
	for i, text := range list {
		shown[i] = word(text)
	}
	return strings.Join(shown, " ")
}

// groups splits the series of a result into those that have the same tags: one per metric.
func groups(r *timeseries.Result) [][]timeseries.Series {
	var list [][]timeseries.Series
	for from := 0; from < len(r.Series); {
		to := from + 1
		for to < len(r.Series) && r.Series[to].Label != r.Series[from].Label {
			to++
		}
		list = append(list, r.Series[from:to])
		from = to
	}
	return list
}

// resultTable renders a result for people; a width above 0 is that of a
// terminal, which gets sparklines.
func resultTable(r *timeseries.Result, groupBy []string, width int, zone *time.Location) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s, %s, a point every %d s\n", word(r.Schema.Name), span(r.Start, r.End, zone), r.Step)
	for _, group := range groups(r) {
		out.WriteByte('\n')
		if tags := tagWords(group[0].Tags, groupBy); tags != "" {
			out.WriteString(tags + "\n")
		} else {
			out.WriteString("all series together (--group-by shows them apart)\n")
		}
		writePoints(&out, r, group, width, zone)
		writeStatistics(&out, group, width)
	}
	return out.Bytes()
}

// writePoints prints a row per point. Points before the first and after the
// last known value are left out, and counted.
func writePoints(out *bytes.Buffer, r *timeseries.Result, group []timeseries.Series, width int, zone *time.Location) {
	known := func(i int) bool {
		return slices.ContainsFunc(group, func(s timeseries.Series) bool { return !math.IsNaN(at(s.Data, i)) })
	}
	first, last := 0, r.Count
	for first < last && !known(first) {
		first++
	}
	for last > first && !known(last-1) {
		last--
	}
	if first == last {
		fmt.Fprintf(out, "  no point of %d has a value\n", r.Count)
		return
	}
	t := table{indent: "  ", left: 1}
	heading := []string{"TIME (" + time.Unix(r.Start, 0).In(zone).Format("MST") + ")"}
	for _, s := range group {
		heading = append(heading, word(s.Label))
	}
	t.add(heading...)
	for i := first; i < last; i++ {
		row := []string{time.Unix(r.Start+int64(i+1)*r.Step, 0).In(zone).Format(time.DateTime)}
		for _, s := range group {
			row = append(row, number(at(s.Data, i)))
		}
		t.add(row...)
	}
	t.write(out, width)
	if left := r.Count - (last - first); left > 0 {
		fmt.Fprintf(out, "  without a value before and after these: %d\n", left)
	}
}

func hasValue(s timeseries.Series) bool {
	return slices.ContainsFunc(s.Data, func(v float64) bool { return !math.IsNaN(v) })
}

// at is data[i], NaN past the end: what is decoded came over the network.
func at(data []float64, i int) float64 {
	if i < len(data) {
		return data[i]
	}
	return math.NaN()
}

// writeStatistics prints a row per metric: the sparkline and the statistics.
func writeStatistics(out *bytes.Buffer, group []timeseries.Series, width int) {
	if group[0].Statistics == nil {
		return
	}
	t := table{indent: "  ", left: 1}
	t.add("METRIC", "LAST", "MIN", "AVERAGE", "95%", "MAX", "TOTAL")
	for _, s := range group {
		last := math.NaN()
		for _, v := range s.Data {
			if !math.IsNaN(v) {
				last = v
			}
		}
		st := s.Statistics
		t.add(word(s.Label), number(last), number(st.Min), number(st.Average), number(st.Percentile95), number(st.Max), number(st.Total))
	}
	if width > 0 {
		t.addTrends(width, func(i int) []float64 { return group[i].Data })
	}
	out.WriteByte('\n')
	t.write(out, 0)
}

// writeResultCSV prints a line per group and time, with a column per tag and per metric.
func writeResultCSV(w io.Writer, r *timeseries.Result, groupBy []string) error {
	out := csv.NewWriter(w)
	for n, group := range groups(r) {
		names := tagNames(group[0].Tags, groupBy)
		if n == 0 {
			row := append([]string{"time"}, names...)
			for _, s := range group {
				row = append(row, s.Label)
			}
			_ = out.Write(row) // errors stay until Error
		}
		for i := range r.Count {
			row := []string{time.Unix(r.Start+int64(i+1)*r.Step, 0).UTC().Format(time.RFC3339)}
			for _, name := range names {
				row = append(row, group[0].Tags[name])
			}
			for _, s := range group {
				row = append(row, exact(at(s.Data, i)))
			}
			_ = out.Write(row)
		}
	}
	out.Flush()
	return out.Error()
}
