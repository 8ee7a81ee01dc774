// Package cli is the command line: one file and one test per subcommand.
package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Exit codes of every subcommand.
const (
	exitOK    = 0
	exitUsage = 2 // wrong arguments or a wrong configuration
)

// Main runs the command line and returns the exit code of the process.
func Main(args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "weir",
		Short:         "A programmable monitoring pipeline in one binary",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), versionCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(context.Background()); err != nil {
		fmt.Fprintf(stderr, "weir: %v\n", err)
		return exitUsage
	}
	return exitOK
}
