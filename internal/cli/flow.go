package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/daemon"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/telemetry"
)

func flowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "flow",
		Short: "Count recorded flows and packets",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(flowReplayCommand())
	return cmd
}

func flowReplayCommand() *cobra.Command {
	var file string
	var packets, exports bool
	cmd := &cobra.Command{
		Use:   "replay FILE ...",
		Short: "Count files of flows in the counter groups, on the time of their data",
		Long: `Count files in the counter groups as if their contents came in now, in the order given:
files of nfdump (nfcapd), and captures (pcap, pcapng) either of NetFlow, IPFIX and sFlow
datagrams or of packets, which are counted themselves. Which of the two a capture holds is
guessed from its first UDP datagrams.

Seconds and windows end as the times of the records go on. At the end a table shows what
was counted. With -c the windows go to the store of that configuration, in the times of
the data; no weir may run on it meanwhile. Without -c nothing is stored.

The exit code is 1 when a file could not be read to its end; what was read before is
counted, stored and shown all the same.`,
		Example: `  weir flow replay nfcapd.202501311200
  weir flow replay -c weir.yaml nfcapd.2025013112*
  weir flow replay --packets office.pcap`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("the files are missing: weir flow replay FILE ..., files of nfdump or captures")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := load(file)
			if err != nil {
				return err
			}
			if file == "" {
				cfg.Timeseries.Write = nil
			}
			level := max(cfg.Log.Level, slog.LevelWarn)
			if cfg.Log.Level == slog.LevelDebug {
				level = slog.LevelDebug
			}
			contents := flow.ContentsAuto
			switch {
			case packets:
				contents = flow.ContentsPackets
			case exports:
				contents = flow.ContentsExports
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			replayed, err := daemon.Replay(ctx, cfg, contents, args, newLog(cmd.ErrOrStderr(), cfg.Log.Format, level))
			if errors.Is(err, context.Canceled) {
				err = errors.New("interrupted: the rest was not read")
			}
			if replayed != nil {
				if _, failed := cmd.OutOrStdout().Write(replayTable(replayed, cfg, zone)); failed != nil {
					return failed
				}
			}
			if one := new(config.Error); err != nil && !errors.As(err, &one) {
				return failure{err}
			}
			return err
		},
	}
	registerConfig(cmd, &file)
	cmd.Flags().BoolVar(&packets, "packets", false, "captures hold packets to be counted, whatever they look like")
	cmd.Flags().BoolVar(&exports, "exports", false, "captures hold datagrams of exporters, whatever they look like")
	cmd.MarkFlagsMutuallyExclusive("packets", "exports")
	return cmd
}

// replayTable shows the groups and what became of everything that was read.
func replayTable(r *daemon.Replayed, cfg *config.Config, zone *time.Location) []byte {
	var out bytes.Buffer
	if len(r.Groups) > 0 {
		t := table{left: 1}
		t.add("GROUP", "KEYS", "METER", "TOTAL")
		for _, g := range r.Groups {
			t.add(word(g.Group.Title), number(float64(g.Keys)), word(g.Group.Meters[0].Name), number(math.Round(g.Total)))
		}
		t.write(&out, 0)
		fmt.Fprintf(&out, "\n%s, %s of %d s\n", span(r.First, r.Last, zone), plural(r.Windows, "window"), r.WindowSeconds)
	}
	account := func(a telemetry.Account, passed string) {
		if a.Received == 0 {
			return
		}
		fmt.Fprintf(&out, "%s: %d, %s %d%s\n", a.Unit, a.Received, passed, a.Passed, dropped(a))
	}
	if r.Packets > 0 {
		fmt.Fprintf(&out, "packets: %d, strange %d\n", r.Packets, r.Strange)
	}
	account(r.Datagrams, "decoded")
	if r.Undecodable > 0 {
		fmt.Fprintf(&out, "sets of records whose template did not come: %d\n", r.Undecodable)
	}
	fmt.Fprintf(&out, "records: %d, counted %d%s\n", r.Records.Received, r.Records.Passed, dropped(r.Records))
	if r.Late > 0 {
		fmt.Fprintf(&out, "records older than those before them: %d, counted in the second of those\n", r.Late)
	}
	if cfg.Stores() {
		fmt.Fprintf(&out, "points: %d, stored in %s %d%s\n", r.Points.Received, word(cfg.Data), r.Points.Passed, dropped(r.Points))
	}
	return out.Bytes()
}

// dropped lists what was dropped, by reason.
func dropped(a telemetry.Account) string {
	var parts []string
	for _, reason := range slices.DeleteFunc(a.Reasons(), func(s string) bool { return a.Discarded[s] == 0 }) {
		parts = append(parts, fmt.Sprintf(", %s %d", reason, a.Discarded[reason]))
	}
	return strings.Join(parts, "")
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
