package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/script"
)

// scriptCommand is the parent of what is done with scripts.
func scriptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "script",
		Short: "Look at scripts, and run one",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(scriptListCommand(), scriptMonitorsCommand(), scriptRunCommand())
	return cmd
}

func scriptListCommand() *cobra.Command {
	var c connection
	var json bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the scripts of a running Weir and how they do",
		Long: `List the scripts of a running Weir: state, process, restarts, calls, errors, time in
calls, memory, and frames to and from the script. Below the table stands, for each
script that has one, the last exit that nobody asked for and the last error, with file:line,
and how many events were set aside because each of them ended the script.`,
		Example: `  weir script ls
  weir script ls --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			const path = "api/v1/scripts"
			if json {
				return client.copyAnswer(cmd.Context(), cmd.OutOrStdout(), path, nil)
			}
			var answer struct{ Scripts []script.Stats }
			if err := client.decode(cmd.Context(), path, nil, &answer); err != nil {
				return err
			}
			if len(answer.Scripts) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "weir: no script is configured")
				return nil
			}
			var b bytes.Buffer
			writeScripts(&b, answer.Scripts, time.Now(), terminalWidth(cmd.OutOrStdout()))
			_, err = cmd.OutOrStdout().Write(b.Bytes())
			return err
		},
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&json, "json", false, "print the answer of the HTTP API as it is")
	return cmd
}

func writeScripts(b *bytes.Buffer, scripts []script.Stats, now time.Time, width int) {
	t := table{left: 3}
	t.add("NAME", "API", "STATE", "FOR", "PID", "RESTARTS", "CALLS", "ERRORS", "BUSY", "MEMORY", "IN", "OUT", "HELD")
	for _, s := range scripts {
		pid := "-"
		if s.PID != 0 {
			pid = strconv.Itoa(s.PID)
		}
		count := func(n int64) string { return strconv.FormatInt(n, 10) }
		t.add(word(s.Name), word(s.API), word(string(s.State)), now.Sub(s.Since).Truncate(time.Second).String(), pid, count(s.Restarts), count(s.Calls), count(s.Errors),
			number(s.BusySeconds)+" s", number(float64(s.MemoryBytes>>20))+" MiB", count(s.FramesIn), count(s.FramesOut), strconv.Itoa(s.Held))
	}
	t.write(b, width)
	for _, s := range scripts {
		writeEvent(b, s.Name, "last exit", s.LastExit)
		writeEvent(b, s.Name, "last error", s.LastError)
		if s.Quarantined > 0 {
			fmt.Fprintf(b, "%s: %d set aside in %s, because each ended the script\n", word(s.Name), s.Quarantined, word(s.QuarantineFile))
		}
	}
}

func writeEvent(b *bytes.Buffer, name, what string, e *script.Event) {
	if e == nil {
		return
	}
	fmt.Fprintf(b, "%s: %s %s", word(name), what, e.Time.In(zone).Format(time.DateTime))
	if e.Position != "" {
		fmt.Fprintf(b, " at %s", word(e.Position))
	}
	fmt.Fprintf(b, ": %s\n", word(cmp.Or(e.Message, "-")))
}
