package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/api"
	"github.com/weirhq/weir/internal/countergroup"
)

func topCommand() *cobra.Command {
	var where connection
	var meter string
	var n int
	var once, asJSON bool
	cmd := &cobra.Command{
		Use:   "top [GROUP]",
		Short: "Show the largest keys of a counter group, live",
		Long: `Show the keys of a counter group that have the largest values of a meter in the bucket
that has begun, from a running Weir. GROUP is the title or the GUID; without it the groups are listed.

On a terminal the table is drawn again every second until Ctrl-C; elsewhere, and with
--once, it is printed once. Rates are over the part of the bucket that has passed. Meters of
which no key shown has a value have no column, nor do those that do not fit the terminal.`,
		Example: `  weir top
  weir top Hosts
  weir top Apps --meter Connections -n 10
  weir top '{C51B48D4-7876-479E-B0D9-BD9EFF03CE2E}' --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := where.client()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			path, p := "api/v1/groups", url.Values(nil)
			if len(args) > 0 {
				path, p = path+"/"+url.PathEscape(args[0])+"/top", url.Values{"n": {strconv.Itoa(n)}}
				set(p, "meter", meter)
			}
			switch {
			case asJSON:
				return c.copyAnswer(cmd.Context(), out, path, p)
			case len(args) == 0:
				var answer api.GroupList
				if err := c.decode(cmd.Context(), path, nil, &answer); err != nil {
					return err
				}
				_, err = out.Write(groupsTable(answer))
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			show := func(w io.Writer, lead string) error {
				var answer api.GroupTop
				if err := c.decode(ctx, path, p, &answer); err != nil {
					return err
				}
				if top := answer.Meter; top < 0 || top >= len(answer.Meters) {
					return failure{fmt.Errorf("cannot read the answer: it has %d meters and is about number %d", len(answer.Meters), top)}
				}
				_, err := w.Write(append([]byte(lead), topGroupTable(answer, terminalWidth(out))...))
				return err
			}
			if once || terminalWidth(out) == 0 {
				return show(out, "")
			}
			ticker := time.NewTicker(time.Second)
			defer ticker.Stop()
			return live(ctx, ticker.C, func() error { return show(out, clearScreen) })
		},
	}
	where.register(cmd)
	cmd.Flags().StringVar(&meter, "meter", "", "name or number of the meter to order by; the first one when not given")
	cmd.Flags().IntVarP(&n, "count", "n", 20, "how many keys, at most 1000")
	cmd.Flags().BoolVar(&once, "once", false, "print the table once, on a terminal too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer of the HTTP API as it is, once")
	cmd.MarkFlagsMutuallyExclusive("once", "json")
	return cmd
}

// clearScreen moves the cursor of a terminal to its corner and removes what is there.
const clearScreen = "\x1b[H\x1b[2J"

// live shows now and at every tick until ctx ends.
func live(ctx context.Context, tick <-chan time.Time, show func() error) error {
	for {
		if err := show(); err != nil {
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick:
		}
	}
}

func groupsTable(l api.GroupList) []byte {
	t := table{left: 2}
	t.add("GROUP", "GUID", "KEYS", "BUCKET", "METERS")
	for _, g := range l.Groups {
		t.add(word(g.Title), g.GUID, strconv.Itoa(g.Keys), fmt.Sprintf("%d s", g.Bucket), strconv.Itoa(len(g.Meters)))
	}
	var out bytes.Buffer
	t.write(&out, 0)
	return out.Bytes()
}

// topGroupTable shows the meter asked for first, then the others that are not all zero, as many as fit into width, or all when it is 0.
func topGroupTable(top api.GroupTop, width int) []byte {
	meters := []int{top.Meter}
	for m := range top.Meters {
		if m != top.Meter && anyValue(top.Items, m) {
			meters = append(meters, m)
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s by %s, %s of %d s: %d keys\n\n", word(top.Title), word(top.Meters[top.Meter].Name), plural(int(top.Seconds), "second"), top.Bucket, top.Active)
	for ; ; meters = meters[:len(meters)-1] {
		t := topColumnsOf(top, meters)
		used := -2
		for _, w := range t.widths() {
			used += w + 2
		}
		if width == 0 || used <= width || len(meters) == 1 {
			t.write(&out, 0)
			return out.Bytes()
		}
	}
}

func anyValue(items []api.TopItem, meter int) bool {
	for _, item := range items {
		if meter < len(item.Values) && item.Values[meter] != 0 {
			return true
		}
	}
	return false
}

func topColumnsOf(top api.GroupTop, meters []int) table {
	labels := false
	for _, item := range top.Items {
		labels = labels || item.Label != ""
	}
	t := table{left: 1}
	begin := func(key, label string) []string {
		if labels {
			t.left = 2
			return []string{key, label}
		}
		return []string{key}
	}
	head := begin("KEY", "LABEL")
	for _, m := range meters {
		head = append(head, strings.ToUpper(word(top.Meters[m].Name)))
	}
	t.add(head...)
	line := func(key, label string, values []float64) {
		cells := begin(word(key), word(label))
		if label == "" && labels {
			cells[1] = ""
		}
		for _, m := range meters {
			cell := ""
			if m < len(values) {
				cell = number(values[m])
			}
			cells = append(cells, cell)
		}
		t.add(cells...)
	}
	for _, item := range top.Items {
		line(item.Key, item.Label, item.Values)
	}
	line(countergroup.TotalsKey, "", top.Totals)
	return t
}
