package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/stream"
)

func queueCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Show, verify and let go the events kept for connectors",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(queueListCommand(), queueVerifyCommand(), queueRemoveCommand())
	return cmd
}

func queueListCommand() *cobra.Command {
	var where connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List how many events wait for each connector",
		Long: `List how many events wait for each connector of a running Weir, how many of
them it has taken and not acknowledged, how old the oldest is, and how many were
dropped at a limit since the start. Bytes are estimated. Queues of connectors that
are not in the configuration any more are named below the table.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := where.client()
			if err != nil {
				return err
			}
			if asJSON {
				return c.copyAnswer(cmd.Context(), cmd.OutOrStdout(), "api/v1/queues", nil)
			}
			var answer stream.Queues
			if err := c.decode(cmd.Context(), "api/v1/queues", nil, &answer); err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(queueTable(answer, time.Now()))
			return err
		},
	}
	where.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer of the HTTP API as it is")
	return cmd
}

// queueTable renders the queues as of now, and the stream they are in.
func queueTable(q stream.Queues, now time.Time) []byte {
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	t := table{left: 1}
	t.add("QUEUE", "EVENTS", "UNACKNOWLEDGED", "BYTES", "OLDEST", "DROPPED")
	for _, b := range q.Queues {
		age := "-"
		if !b.Oldest.IsZero() {
			age = now.Sub(b.Oldest).Round(time.Second).String()
		}
		t.add(word(b.Name), count(b.Events), count(b.Unacknowledged), count(b.Bytes), age, count(b.Discarded))
	}
	var out bytes.Buffer
	t.write(&out, 0)
	fmt.Fprintf(&out, "\n%d events so far, %d of at most %d bytes used\n", q.Stream.Events, q.Stream.Bytes, q.Stream.MaxBytes)
	for _, b := range q.Queues {
		if !b.Configured {
			fmt.Fprintf(&out, "%s is not configured: its events are kept up to the limits; weir queue rm %s lets them go\n", word(b.Name), word(b.Name))
		}
	}
	return out.Bytes()
}

func queueRemoveCommand() *cobra.Command {
	var where connection
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Let go the events kept for a connector that is not configured any more",
		Long: `Forget the position of a connector that is not in the configuration any more, and let
its events go. NAME is as in weir queue ls, or the name of the connector. A connector of
that name that is configured later begins with the events that arrive from then on.

The queue of a connector that is configured cannot be removed.`,
		Example: `  weir queue rm influx`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := where.client()
			if err != nil {
				return err
			}
			var all stream.Queues
			if err := c.decode(cmd.Context(), "api/v1/queues", nil, &all); err != nil {
				return err
			}
			name, names := "", []string{}
			for _, b := range all.Queues {
				if names = append(names, b.Name); b.Name == args[0] || b.Name == connector.QueuePrefix+args[0] && name == "" {
					name = b.Name
				}
			}
			if name == "" {
				return failure{fmt.Errorf("cannot remove the queue %q: there is none; the queues are %s", args[0], orNone(names))}
			}
			var removed stream.Backlog
			ctx, cancel := context.WithTimeout(cmd.Context(), answerTimeout)
			defer cancel()
			err = c.do(ctx, http.MethodDelete, "api/v1/queues/"+url.PathEscape(name), nil, func(r io.Reader) error { return json.NewDecoder(r).Decode(&removed) })
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is removed; %d events that waited in it are let go\n", word(name), removed.Events)
			return err
		},
	}
	where.register(cmd)
	return cmd
}

func queueVerifyCommand() *cobra.Command {
	var where connection
	var path, name string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read all events kept for connectors and check them",
		Long: `Read every stored message, check its layout and that the numbers of events
continue, and print what there is. The exit code is 1 when something is damaged.

Without --path a running Weir is asked. With it the files in that directory are
read, with their checksums; Weir may run or not.`,
		Example: `  weir queue verify
  weir queue verify --path ./weir-data/stream`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := new(stream.Report)
			if path != "" {
				var err error
				if report, err = stream.VerifyFiles(path, name); err != nil {
					return failure{err}
				}
			} else {
				c, err := where.client()
				if err != nil {
					return err
				}
				if err := c.decode(cmd.Context(), "api/v1/queues/verify", nil, report); err != nil {
					return err
				}
			}
			out := cmd.OutOrStdout()
			if asJSON {
				if err := json.NewEncoder(out).Encode(report); err != nil {
					return err
				}
			} else {
				for _, damage := range report.Damage {
					fmt.Fprintf(out, "damaged: %s\n", damage)
				}
				fmt.Fprintf(out, "%d messages, %d events (%d to %d), %d bytes, %d damages\n", report.Messages, report.Events, report.First, report.Last, report.Bytes, report.Damages)
			}
			if report.Damages > 0 {
				return failure{errors.New("the stream is damaged")}
			}
			return nil
		},
	}
	where.register(cmd)
	cmd.Flags().StringVar(&path, "path", "", "directory of the stream's files")
	cmd.Flags().StringVar(&name, "name", "weir", "name of the stream, with --path")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.MarkFlagsMutuallyExclusive("path", "url")
	return cmd
}
