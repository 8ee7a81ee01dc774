// Package cli is the command line: one file and one test per subcommand.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/config"
)

// Exit codes of every subcommand.
const (
	exitOK      = 0
	exitFailure = 1 // understood, and could not be done
	exitUsage   = 2 // wrong arguments or a wrong configuration
)

// failure is an error that ends the process with exitFailure; every other one
// is a usage error.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// Main runs the command line and returns the exit code of the process.
func Main(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "weir",
		Short: "A programmable monitoring pipeline in one binary",
		Long: `Weir takes monitoring data in, aggregates it, stores it and sends it on.

The exit code of every command is 0 when it did what was asked, 1 when it could not,
and 2 when its arguments or the configuration are wrong.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), statsdCommand(), statsdProxyCommand(), checkCommand(), versionCommand())
	root.AddCommand(queryCommand(), topkCommand(), seriesCommand(), topCommand(), flowCommand(), queueCommand(), doctorCommand())
	root.AddCommand(scriptCommand(), scriptHostCommand(), inventoryCommand(), botCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(context.Background()); err != nil {
		report(stderr, err)
		if errors.As(err, new(failure)) {
			return exitFailure
		}
		return exitUsage
	}
	return exitOK
}

// report prints err. Mistakes in a configuration begin with their place, as
// compilers print them, so that editors find it.
func report(w io.Writer, err error) {
	var mistakes config.Errors
	if errors.As(err, &mistakes) {
		fmt.Fprintln(w, mistakes)
		if n := len(mistakes); n > 1 {
			fmt.Fprintf(w, "weir: the configuration has %d mistakes\n", n)
		}
		return
	}
	if one := new(config.Error); errors.As(err, &one) && one.File != "" {
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintf(w, "weir: %v\n", err)
}
