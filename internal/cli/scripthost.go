package cli

import (
	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/resident"
	"github.com/weirhq/weir/internal/script"
)

// scriptHostCommand is what a running Weir starts for each script.
func scriptHostCommand() *cobra.Command {
	return &cobra.Command{
		Use:    script.Command + " API [NAME]",
		Short:  "Run one script for a running Weir, which starts this command",
		Hidden: true,
		Args:   cobra.RangeArgs(1, 2), // NAME is for lists of processes
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := script.NewHost(args[0])
			if err != nil {
				return err
			}
			resident.Trim() // there are as many of these processes as scripts
			go resident.Collect(cmd.Context())
			if err := script.Serve(host); err != nil {
				return failure{err}
			}
			return nil
		},
	}
}
