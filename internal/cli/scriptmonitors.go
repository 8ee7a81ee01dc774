package cli

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/monitor"
)

func scriptMonitorsCommand() *cobra.Command {
	var c connection
	var json bool
	cmd := &cobra.Command{
		Use:   "monitors",
		Short: "List the monitor scripts of a running Weir and the groups they are attached to",
		Long: `List the files that were found for monitors, and for each the instances: one for every
group it is attached to. Below the table stand the reasons of files and instances that do not run,
and the last errors.`,
		Example: `  weir script monitors
  weir script monitors --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			const path = "api/v1/monitors"
			if json {
				return client.copyAnswer(cmd.Context(), cmd.OutOrStdout(), path, nil)
			}
			var answer struct{ Monitors []monitor.Script }
			if err := client.decode(cmd.Context(), path, nil, &answer); err != nil {
				return err
			}
			if len(answer.Monitors) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "weir: no monitor script was found")
				return nil
			}
			var b bytes.Buffer
			writeMonitors(&b, answer.Monitors, terminalWidth(cmd.OutOrStdout()))
			_, err = cmd.OutOrStdout().Write(b.Bytes())
			return err
		},
	}
	c.register(cmd)
	cmd.Flags().BoolVar(&json, "json", false, "print the answer of the HTTP API as it is")
	return cmd
}

func writeMonitors(b *bytes.Buffer, scripts []monitor.Script, width int) {
	t := table{left: 4}
	t.add("FILE", "TYPE", "GROUP", "STATE", "CALLS", "ERRORS")
	for _, s := range scripts {
		if len(s.Instances) == 0 {
			t.add(word(s.File), "-", "-", s.State, "-", "-")
		}
		for _, i := range s.Instances {
			group := i.Group
			if group == "" {
				group = "-"
			}
			t.add(word(s.File), i.Type, word(group), i.State, strconv.FormatInt(i.Figures.Calls, 10), strconv.FormatInt(i.Figures.Errors, 10))
		}
	}
	t.write(b, width)
	for _, s := range scripts {
		if s.Reason != "" {
			fmt.Fprintf(b, "%s: %s\n", word(s.File), s.Reason)
		}
		for _, i := range s.Instances {
			name := strings.TrimSpace(s.File + " " + i.Group)
			if i.Reason != "" {
				fmt.Fprintf(b, "%s: %s\n", word(name), i.Reason)
			}
			if i.Figures.LastError != "" {
				fmt.Fprintf(b, "%s: last error: %s\n", word(name), i.Figures.LastError)
			}
			if len(i.Figures.Disabled) > 0 {
				fmt.Fprintf(b, "%s: not called any more: %s\n", word(name), strings.Join(i.Figures.Disabled, ", "))
			}
		}
	}
}
