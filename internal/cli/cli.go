// Package cli is the command line: one file and one test per subcommand.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
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
		Use:           "weir",
		Short:         "A programmable monitoring pipeline in one binary",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), versionCommand())
	root.AddCommand(queryCommand(), topkCommand(), seriesCommand(), doctorCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(context.Background()); err != nil {
		fmt.Fprintf(stderr, "weir: %v\n", err)
		if errors.As(err, new(failure)) {
			return exitFailure
		}
		return exitUsage
	}
	return exitOK
}
