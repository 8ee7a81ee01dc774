package cli

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/timeseries"
)

func seriesCommand() *cobra.Command {
	var q question
	var limit int
	cmd := &cobra.Command{
		Use:   "series [SCHEMA [TAG=VALUE ...]]",
		Short: "List the series a running Weir holds",
		Long: `List the series a running Weir holds, each as the arguments weir query takes.

Without --start and --end all series are listed, with them those that have a
value in the range.`,
		Example: `  weir series
  weir series statsd:counter region=eu --start -1d
  weir series statsd:timer --limit 0 --csv`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := q.client()
			if err != nil {
				return err
			}
			p, err := q.parameters(args)
			if err != nil {
				return err
			}
			p.Set("limit", strconv.Itoa(limit))
			if q.json {
				return c.copyAnswer(cmd.Context(), cmd.OutOrStdout(), "api/v1/series", p)
			}
			all, err := c.schemas(cmd.Context())
			if err != nil {
				return err
			}
			var list seriesWriter = &seriesLines{w: bufio.NewWriter(cmd.OutOrStdout()), schemas: all}
			if q.csv {
				list = &seriesCSV{w: csv.NewWriter(cmd.OutOrStdout()), schemas: all, only: p.Get("schema")}
			}
			var count int
			var more bool
			err = c.get(cmd.Context(), "api/v1/series", p, func(r io.Reader) (err error) {
				count, more, err = readSeries(r, list.write)
				return errors.Join(err, list.flush())
			})
			switch {
			case err != nil:
				return err
			case count == 0:
				return failure{errors.New("no series has a value in this range")}
			case more:
				fmt.Fprintf(cmd.ErrOrStderr(), "weir: there are more than these %d series; --limit 0 lists all\n", count)
			}
			return nil
		},
	}
	q.register(cmd, "", "")
	cmd.Flags().IntVar(&limit, "limit", 1000, "at most so many series; 0 for all")
	return cmd
}

type oneSeries struct {
	Schema string
	Tags   timeseries.Tags
}

// readSeries reads {"series": [...], "count": n, "more": b} without holding the list.
func readSeries(r io.Reader, write func(oneSeries) error) (count int, more bool, err error) {
	d := json.NewDecoder(r)
	expect := func(want json.Token) {
		if token, e := d.Token(); err == nil && (e != nil || token != want) {
			err = errors.Join(fmt.Errorf("%v is not where it should be", want), e)
		}
	}
	expect(json.Delim('{'))
	expect("series")
	expect(json.Delim('['))
	for err == nil && d.More() {
		var s oneSeries
		if err = d.Decode(&s); err == nil {
			err = write(s)
			count++
		}
	}
	expect(json.Delim(']'))
	for err == nil && d.More() {
		var name json.Token
		var value any
		if name, err = d.Token(); err == nil {
			err = d.Decode(&value)
		}
		switch name {
		case "more":
			more = value == true
		case "error":
			return count, more, fmt.Errorf("%v", value)
		}
	}
	expect(json.Delim('}'))
	return count, more, err
}

type seriesWriter interface {
	write(oneSeries) error
	flush() error
}

// seriesLines prints a series as the arguments that ask for it.
type seriesLines struct {
	w       *bufio.Writer
	schemas []schema
}

func (l *seriesLines) write(s oneSeries) error {
	_, err := fmt.Fprintf(l.w, "%s %s\n", word(s.Schema), tagWords(s.Tags, tagsOf(l.schemas, s.Schema)))
	return err
}

func (l *seriesLines) flush() error { return l.w.Flush() }

func tagsOf(schemas []schema, name string) []string {
	if i := slices.IndexFunc(schemas, func(s schema) bool { return s.Name == name }); i >= 0 {
		return schemas[i].Tags
	}
	return nil
}

// seriesCSV prints a column per tag of the schema, or of all schemas.
type seriesCSV struct {
	w       *csv.Writer
	schemas []schema
	only    string
	columns []string
}

func (l *seriesCSV) write(s oneSeries) error {
	if l.columns == nil {
		for _, schema := range l.schemas {
			if l.only != "" && schema.Name != l.only {
				continue
			}
			for _, tag := range schema.Tags {
				if !slices.Contains(l.columns, tag) {
					l.columns = append(l.columns, tag)
				}
			}
		}
		if err := l.w.Write(append([]string{"schema"}, l.columns...)); err != nil {
			return err
		}
	}
	row := []string{s.Schema}
	for _, tag := range l.columns {
		row = append(row, s.Tags[tag])
	}
	return l.w.Write(row)
}

func (l *seriesCSV) flush() error {
	l.w.Flush()
	return l.w.Error()
}
