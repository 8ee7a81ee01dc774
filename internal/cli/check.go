package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/monitor"
)

func checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Say what is wrong with a configuration, and start nothing",
		Long: `Read a configuration and the files it names (tokens, certificates) as weir run
does, load the scripts of connectors, monitors, timeseries drivers and collectors, each in a process of its own and
without calling init, onload, new or jobs, and start nothing. Every mistake is printed with its place, FILE:LINE:COLUMN, and
what is left out of the configuration as a warning.

The exit code is 0 when the configuration is fine and 2 when it is not.`,
		Example: `  weir check -c /etc/weir/weir.yaml`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return errors.New("cannot check nothing: say which configuration with -c FILE")
			}
			cfg, err := config.Load(file)
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "warning: %v\n", w)
			}
			found, err := inspect(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			for i, f := range found {
				for _, problem := range f.Problems {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: connector %s: %s\n", cfg.Events.Connectors[i].Name, problem)
				}
			}
			monitors, err := inspectMonitors(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			for _, f := range slices.Concat(monitors...) {
				for _, problem := range f.Problems {
					fmt.Fprintf(cmd.ErrOrStderr(), "warning: monitor %s: %s\n", f.File, problem)
				}
			}
			if err := inspectDrivers(cmd.Context(), cfg); err != nil {
				return err
			}
			if err := inspectCollectors(cmd.Context(), cfg); err != nil {
				return err
			}
			return summarize(cmd.OutOrStdout(), file, cfg, found, slices.Concat(monitors...))
		},
	}
	registerConfig(cmd, &file)
	return cmd
}

// summarize prints what the configuration comes to.
func summarize(w io.Writer, file string, cfg *config.Config, found []*connector.Inspection, monitors []monitor.Inspection) error {
	var listen, backends []string
	for _, l := range cfg.StatsD.Listen {
		listen = append(listen, l.Network+"://"+l.Address)
	}
	for _, b := range cfg.StatsD.Backends {
		backends = append(backends, b.Kind)
	}
	scheme := "http"
	if cfg.HTTP.TLS.Cert != "" {
		scheme = "https"
	}
	access := "no token"
	if cfg.HTTP.Token != "" {
		access = "token"
	}
	data := cfg.Data
	if !cfg.Stores() {
		data = "nothing is kept"
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s: ok\n  statsd      %s\n  flush       every %s to %s\n  management  %s\n  http        %s://%s, %s\n  data        %s\n",
		file, orNone(listen), config.FormatDuration(cfg.StatsD.FlushInterval), orNone(backends), orNone(strings.Fields(cfg.StatsD.Management)), scheme, cfg.HTTP.Listen, access, data)
	for _, b := range cfg.Events.BBDO {
		if b.Connects() {
			fmt.Fprintf(&out, "  bbdo        connects to tcp://%s\n", b.Connect.Address)
		} else {
			fmt.Fprintf(&out, "  bbdo        tcp://%s\n", b.Listen.Address)
		}
	}
	for _, f := range cfg.Flows.Listen {
		fmt.Fprintf(&out, "  netflow     %s://%s\n", f.Listen.Network, f.Listen.Address)
	}
	for _, g := range cfg.Graphite {
		fmt.Fprintf(&out, "  graphite    %s://%s\n", g.Listen.Network, g.Listen.Address)
	}
	for _, g := range cfg.Groups.Declared {
		fmt.Fprintf(&out, "  group       %s: %s, %s\n", word(g.Title), plural(len(g.Meters), "meter"), plural(len(g.Feeds), "feed"))
	}
	if cfg.Events.Stream.URL != "" {
		fmt.Fprintf(&out, "  stream      %s\n", cfg.Events.Stream.URL)
	}
	for i, f := range found {
		summarizeConnector(&out, cfg.Events.Connectors[i], f)
	}
	for _, f := range monitors {
		summarizeMonitor(&out, f)
	}
	_, err := w.Write(out.Bytes())
	return err
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}
