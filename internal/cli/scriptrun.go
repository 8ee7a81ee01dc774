package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/event"
)

// maxLine is the size of the longest line of input, in bytes.
const maxLine = 64 << 20

func scriptRunCommand() *cobra.Command {
	var api, input string
	var given []string
	setup := connector.Setup{Name: "script"}
	cmd := &cobra.Command{
		Use:   "run --api centreon [--input FILE] SCRIPT",
		Short: "Run one script against recorded events and print what it does",
		Long: `Run one script in the foreground, as the pipeline would: load it, ask its filter once,
init, write for each event, and flush at the end.

Input is a JSON object per line: an event with "category" and "element", or "_type", and its
fields. Each call is a line of JSON on standard output: which call it was, what it returned, up
to which event everything is acknowledged (events are counted from 1), and what it raised. What
the script logs without a file of its own goes to standard error.

The exit code is 0 when every call did without an error, and 1 when one raised or the script
could not be loaded.`,
		Example: `  weir script run --api centreon --input events.json --parameter port=8086 influxdb.lua
  echo '{"category":1,"element":29,"host_id":1}' | weir script run --api centreon --bbdo-version 3.0.1 mine.lua`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if api != connector.API {
				return fmt.Errorf("cannot run a script for the API %q: want --api %s", api, connector.API)
			}
			for _, text := range given {
				p, err := connector.ParseParameter(text)
				if err != nil {
					return err
				}
				setup.Parameters = append(setup.Parameters, p)
			}
			in := cmd.InOrStdin()
			if input != "" {
				file, err := os.Open(input)
				if err != nil {
					return fmt.Errorf("cannot read the input: %w", err)
				}
				defer file.Close()
				in = file
			}
			setup.Script = args[0]
			r := &scriptRun{out: json.NewEncoder(cmd.OutOrStdout()), messages: cmd.ErrOrStderr()}
			if err := r.run(setup, in); err != nil {
				return failure{err}
			}
			if r.raised > 0 {
				return failure{fmt.Errorf("%d errors in the script", r.raised)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&api, "api", "", `what the script is written for: "centreon"`)
	cmd.Flags().StringVar(&input, "input", "", "a file of events, instead of standard input")
	cmd.Flags().StringArrayVar(&given, "parameter", nil, "NAME=VALUE for init, a number when it is one; may be repeated")
	cmd.Flags().StringSliceVar(&setup.Categories, "category", nil, "the category filter, such as neb or neb:host_status; may be repeated")
	cmd.Flags().StringVar(&setup.BBDO, "bbdo-version", connector.Versions[0], "generation of events the script gets: "+strings.Join(connector.Versions, ", "))
	_ = cmd.MarkFlagRequired("api") // the flag exists
	return cmd
}

// scriptRun is one run. It is the script's output, too.
type scriptRun struct {
	out      *json.Encoder
	messages io.Writer

	errors []string // of the call that runs
	raised int
	acked  uint64
}

func (r *scriptRun) run(setup connector.Setup, in io.Reader) error {
	s, err := connector.Load(setup, r)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer s.Close()
	if err := r.say(connector.Step{Call: "init"}); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		e, err := event.ParseJSON(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		result, err := s.WriteOne(e)
		if err != nil {
			return errors.Join(r.say(connector.Step{Call: "write", Event: e.Type}), err)
		}
		if err := r.say(connector.Step{Call: "write", Event: e.Type, Result: result}); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read the input: %w", err)
	}
	result, err := s.FlushOne()
	if err != nil || result == "" {
		return err
	}
	return r.say(connector.Step{Call: "flush", Result: result})
}

// say prints what a call came to.
func (r *scriptRun) say(step connector.Step) error {
	step.Acknowledged, step.Errors = r.acked, r.errors
	r.errors = nil
	return r.out.Encode(step)
}

// Log implements connector.Output.
func (r *scriptRun) Log(level slog.Level, text string) {
	fmt.Fprintf(r.messages, "%s: %s\n", level, text)
}

// Error implements connector.Output.
func (r *scriptRun) Error(err error) {
	r.raised++
	r.errors = append(r.errors, err.Error())
}

// Begin implements connector.Output.
func (r *scriptRun) Begin(string) {}

// Acknowledge implements connector.Output.
func (r *scriptRun) Acknowledge(through uint64) { r.acked = through }
