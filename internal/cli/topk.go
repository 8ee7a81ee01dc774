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

func topkCommand() *cobra.Command {
	var q question
	var top int
	var groupBy []string
	cmd := &cobra.Command{
		Use:   "topk SCHEMA [TAG=VALUE ...]",
		Short: "Ask a running Weir for the largest series of a range",
		Long: `Ask a running Weir for the series with the largest volume over a range: the
increase of a counter, the sum times the step of a gauge or a rate, over all metrics.

Series are told apart by the tags of --group-by, and without it by all tags of
the schema that are not given. Times are local, set TZ=UTC for UTC.`,
		Example: `  weir topk statsd:counter --start -1d
  weir topk statsd:counter --group-by region --top 20
  weir topk statsd:timer region=eu --group-by name --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("the schema is missing: weir topk SCHEMA [TAG=VALUE ...]; weir query lists the schemas")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := q.client()
			if err != nil {
				return err
			}
			p, err := q.parameters(args)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			width := terminalWidth(out)
			p.Set("top", strconv.Itoa(top))
			set(p, "group_by", strings.Join(groupBy, ","))
			if q.json {
				return c.copyAnswer(cmd.Context(), out, "api/v1/topk", p)
			}
			if width > 0 && !q.csv {
				p.Set("series", "true") // for the sparklines
			}
			var result timeseries.TopResult
			if err := c.decode(cmd.Context(), "api/v1/topk", p, &result); err != nil {
				return err
			}
			if len(result.Items) == 0 {
				return failure{errors.New("no series has a volume above 0 in this range")}
			}
			if q.csv {
				return writeTopCSV(out, &result, groupBy)
			}
			_, err = out.Write(topTable(&result, groupBy, width, zone))
			return err
		},
	}
	q.register(cmd, "-1h", "now")
	cmd.Flags().IntVar(&top, "top", 8, "how many, at most 1000")
	cmd.Flags().StringSliceVar(&groupBy, "group-by", nil, "tags to tell series apart by")
	return cmd
}

// topColumns are the tags and the metrics of the items.
func topColumns(r *timeseries.TopResult, groupBy []string) (tags, metrics []string) {
	for metric := range r.Items[0].Partials {
		metrics = append(metrics, metric)
	}
	slices.Sort(metrics)
	return tagNames(r.Items[0].Tags, groupBy), metrics
}

const maxPartials = 6 // metrics that get a column of their own in a table

func topTable(r *timeseries.TopResult, groupBy []string, width int, zone *time.Location) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s, %s, the largest %d\n\n", word(r.Schema.Name), span(r.Start, r.End, zone), len(r.Items))
	tags, metrics := topColumns(r, groupBy)
	if len(metrics) < 2 || len(metrics) > maxPartials {
		metrics = nil // one is the value itself, and many do not fit
	}
	t := table{indent: "  ", left: len(tags)}
	row := make([]string, 0, len(tags)+len(metrics)+2)
	for _, name := range slices.Concat(tags, []string{"VALUE"}, metrics) {
		row = append(row, word(name))
	}
	t.add(row...)
	for _, item := range r.Items {
		row := make([]string, 0, len(tags)+len(metrics)+2)
		for _, name := range tags {
			row = append(row, word(item.Tags[name]))
		}
		row = append(row, number(item.Value))
		for _, metric := range metrics {
			row = append(row, number(partial(item, metric)))
		}
		t.add(row...)
	}
	if trends := groups(&r.Result); width > 0 && len(trends) == len(r.Items) {
		t.addTrends(width, func(i int) []float64 { return sum(trends[i], r.Count) })
	}
	t.write(&out, 0)
	return out.Bytes()
}

func partial(item timeseries.TopItem, metric string) float64 {
	if v, ok := item.Partials[metric]; ok {
		return v
	}
	return math.NaN()
}

// sum adds the metrics of one item up, point by point.
func sum(group []timeseries.Series, count int) []float64 {
	all := make([]float64, count)
	for i := range all {
		all[i] = math.NaN()
	}
	for _, s := range group {
		timeseries.AddPoints(all, s.Data[:min(len(s.Data), count)]) // what is decoded came over the network
	}
	return all
}

func writeTopCSV(w io.Writer, r *timeseries.TopResult, groupBy []string) error {
	out := csv.NewWriter(w)
	tags, metrics := topColumns(r, groupBy)
	_ = out.Write(slices.Concat(tags, []string{"value"}, metrics)) // errors stay until Error
	for _, item := range r.Items {
		var row []string
		for _, name := range tags {
			row = append(row, item.Tags[name])
		}
		row = append(row, exact(item.Value))
		for _, metric := range metrics {
			row = append(row, exact(partial(item, metric)))
		}
		_ = out.Write(row)
	}
	out.Flush()
	return out.Error()
}
