package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/config"
)

func checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Say what is wrong with a configuration, and start nothing",
		Long: `Read a configuration and the files it names (tokens, certificates) as weir run
does, and start nothing. Every mistake is printed with its place, FILE:LINE:COLUMN.

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
			return summarize(cmd.OutOrStdout(), file, cfg)
		},
	}
	registerConfig(cmd, &file)
	return cmd
}

// summarize prints what the configuration comes to.
func summarize(w io.Writer, file string, cfg *config.Config) error {
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
	_, err := fmt.Fprintf(w, "%s: ok\n  statsd      %s\n  flush       every %s to %s\n  management  %s\n  http        %s://%s, %s\n  data        %s\n",
		file, orNone(listen), config.FormatDuration(cfg.StatsD.FlushInterval), orNone(backends), orNone(strings.Fields(cfg.StatsD.Management)), scheme, cfg.HTTP.Listen, access, data)
	return err
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}
