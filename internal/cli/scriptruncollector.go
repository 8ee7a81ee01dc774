package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot/luabot"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/connector"
)

// runCollector is weir script run --api collector.
func runCollector(cmd *cobra.Command, script, input string, options []connector.Parameter) error {
	setup := luabot.Setup{Name: "script", Script: script, Options: make(map[string]any), Interval: time.Minute}
	for _, p := range options {
		setup.Options[p.Name] = p.Text
		if p.Numeric {
			setup.Options[p.Name] = p.Number
		}
	}
	devices, err := readDevices(input)
	if err != nil {
		return failure{err}
	}
	out := &collectorRun{out: json.NewEncoder(cmd.OutOrStdout()), messages: cmd.ErrOrStderr()}
	out.out.SetEscapeHTML(false)
	err = luabot.Run(setup, devices, newLog(cmd.ErrOrStderr(), config.Default().Log.Format, slog.LevelWarn), out)
	switch {
	case err != nil:
		return failure{err}
	case out.raised > 0:
		return failure{fmt.Errorf("%d errors in the script", out.raised)}
	}
	return nil
}

// readDevices reads devices, a JSON object a line; "" has none.
func readDevices(input string) ([]json.RawMessage, error) {
	devices := []json.RawMessage{}
	if input == "" {
		return devices, nil
	}
	file, err := os.Open(input)
	if err != nil {
		return nil, fmt.Errorf("cannot read the input: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		device := new(collector.JobConfig)
		if err := json.Unmarshal(lines.Bytes(), device); err != nil {
			return nil, fmt.Errorf("cannot read line %d of %s as a device: %w", n, input, err)
		}
		devices = append(devices, json.RawMessage(lines.Text()))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the input: %w", err)
	}
	return devices, nil
}

// collectorRun prints the jobs of a run.
type collectorRun struct {
	out      *json.Encoder
	messages io.Writer
	raised   int
}

// Done implements luabot.RunOutput.
func (r *collectorRun) Done(d luabot.Done) error {
	if d.Error != "" {
		r.raised++
	}
	return r.out.Encode(d)
}

// Print implements luabot.RunOutput.
func (r *collectorRun) Print(line string) { fmt.Fprintln(r.messages, line) }
