package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/bot/luabot"
	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/connector"
	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/monitor"
	"github.com/weirhq/weir/internal/tsdriver"
)

// maxLine is the size of the longest line of input, in bytes.
const maxLine = 64 << 20

func scriptRunCommand() *cobra.Command {
	var api, input, configuration string
	var given []string
	setup := connector.Setup{Name: "script"}
	cmd := &cobra.Command{
		Use:   "run --api centreon|trisul|ntopng|collector [--input FILE] SCRIPT",
		Short: "Run one script against recorded events, counters or series, or its jobs, and print what it does",
		Long: `Run one script in the foreground, as the pipeline would.

--api centreon: load it, ask its filter once, init, write for each event, and flush at the end.
Input is a JSON object per line: an event with "category" and "element", or "_type", and its
fields. Each call is a line of JSON on standard output: which call it was, what it returned, up
to which event everything is acknowledged (events are counted from 1), and what it raised. What
the script logs without a file of its own goes to standard error.

An event that the script's filter left out is "filtered"; one that no script of this generation
gets, or that --category leaves out, is "skipped".

--api trisul: load it, attach it to counter groups, and call its callbacks for what the groups
hold, on the time of the data: seconds and windows of 60 s end as the times of the input go on.
Input is a counter update per line, in JSON with ts (Unix seconds), guid, key, meter and value;
or, with --input, a file of flows: of nfdump (nfcapd) or a capture. Each call is a line of JSON:
the callback, the group, what it was given and returned, the updates and alerts it made, and what it
raised. "returned" is what a vote counts as: one that is not true or false counts as true.
Callbacks for flows, records and resources are not called.

--api ntopng: run the file with ts_utils ready; what it prints goes to standard output, what it logs
to standard error. Series are in a store that is removed at the end, or, with --config, in the
drivers of that configuration, which a running Weir must not use at the same time.

--api collector: load it, ask for its jobs() once, and do each of them once. Each job is a line of
JSON: its id, intervals and params, the values it sent (a is the account, p the path, v the value, t
the time when it said one), and what it raised. Nothing is stored. --parameter fills options;
--input is a file of devices for fetch_job_configs, a JSON object a line. What the script prints
goes to standard error.

The exit code is 0 when every call did without an error, 1 when one raised, or the script could
not be loaded or the input not be read to its end, and 2 when the command line is wrong.`,
		Example: `  weir script run --api centreon --input events.json --parameter port=8086 influxdb.lua
  echo '{"category":1,"element":29,"host_id":1}' | weir script run --api centreon --bbdo-version 3.0.1 mine.lua
  weir script run --api trisul --input nfcapd.202501311200 monitor.lua
  weir script run --api ntopng --config weir.yaml report.lua
  weir script run --api collector --parameter host=web1 load.lua`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("%d scripts are given, and one is run: weir script run --api %s SCRIPT", len(args), cmp.Or(api, connector.API))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case api == "":
				return fmt.Errorf("say what the script is written for: --api %s, --api %s, --api %s or --api %s", connector.API, monitor.API, tsdriver.API, luabot.API)
			case api == tsdriver.API:
				for _, name := range []string{"parameter", "category", "bbdo-version", "input"} {
					if cmd.Flags().Changed(name) {
						return fmt.Errorf("--%s is not for --api %s: such scripts have no such thing", name, tsdriver.API)
					}
				}
				return runTimeseries(cmd, args[0], configuration)
			case configuration != "":
				return fmt.Errorf("--config is for --api %s", tsdriver.API)
			case api == monitor.API:
				for _, name := range []string{"parameter", "category", "bbdo-version"} {
					if cmd.Flags().Changed(name) {
						return fmt.Errorf("--%s is for --api %s: monitors have no such thing", name, connector.API)
					}
				}
				return runMonitor(cmd, args[0], input)
			case api == luabot.API:
				for _, name := range []string{"category", "bbdo-version"} {
					if cmd.Flags().Changed(name) {
						return fmt.Errorf("--%s is for --api %s: collectors have no such thing", name, connector.API)
					}
				}
				options, err := parseParameters(given)
				if err != nil {
					return err
				}
				return runCollector(cmd, args[0], input, options)
			case api != connector.API:
				return fmt.Errorf("cannot run a script for the API %q: want --api %s, --api %s, --api %s or --api %s", api, connector.API, monitor.API, tsdriver.API, luabot.API)
			case !slices.Contains(connector.Versions, setup.BBDO):
				return fmt.Errorf("cannot use --bbdo-version %q: want one of %s", setup.BBDO, strings.Join(connector.Versions, ", "))
			}
			for _, entry := range setup.Categories {
				if err := config.CheckCategory(entry); err != nil {
					return err
				}
			}
			var err error
			if setup.Parameters, err = parseParameters(given); err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if input != "" {
				file, err := os.Open(input)
				if err != nil {
					return fmt.Errorf("cannot read the input: %w", err)
				}
				defer file.Close()
				in = file
			} else if file, ok := in.(*os.File); ok && terminalWidth(file) > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "weir: reading events from the terminal, one JSON object a line, up to ^D; --input FILE reads a file")
			}
			setup.Script = args[0]
			r := &scriptRun{out: json.NewEncoder(cmd.OutOrStdout()), messages: cmd.ErrOrStderr()}
			if err := r.run(setup, cmp.Or(input, "standard input"), in); err != nil {
				return failure{err}
			}
			if r.raised > 0 {
				return failure{fmt.Errorf("%d errors in the script", r.raised)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&api, "api", "", `what the script is written for: "centreon", "trisul", "ntopng" or "collector"`)
	cmd.Flags().StringVarP(&configuration, "config", "c", "", "the configuration whose series --api ntopng uses")
	cmd.Flags().StringVar(&input, "input", "", "a file of events, updates, flows or devices, instead of standard input")
	cmd.Flags().StringArrayVar(&given, "parameter", nil, "NAME=VALUE for init, or for options of a collector, a number when it is one; may be repeated")
	cmd.Flags().StringSliceVar(&setup.Categories, "category", nil, "the category filter, such as neb or neb:host_status; may be repeated")
	cmd.Flags().StringVar(&setup.BBDO, "bbdo-version", connector.Versions[0], "generation of events the script gets: "+strings.Join(connector.Versions, ", "))
	return cmd
}

// parseParameters reads those of the command line.
func parseParameters(given []string) (all []connector.Parameter, err error) {
	for _, text := range given {
		p, err := connector.ParseParameter(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// scriptRun is one run. It is the script's output, too.
type scriptRun struct {
	out      *json.Encoder
	messages io.Writer

	initialized bool     // init was called
	errors      []string // of the call that runs
	raised      int
	acked       uint64
}

// run runs a script on the events of a named input.
func (r *scriptRun) run(setup connector.Setup, name string, in io.Reader) error {
	s, err := connector.Load(setup, r)
	if failed := r.sayLoaded(s, err); err != nil || failed != nil {
		return errors.Join(err, failed, s.Close())
	}
	defer s.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	events := 0
	for number := 1; lines.Scan(); number++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		e, err := event.ParseJSON(line)
		if err != nil && (line[0] != '{' || !json.Valid(line)) {
			return fmt.Errorf("%s:%d: %w; each line must be one event", name, number, err)
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, number, err)
		}
		events++
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
	if events == 0 {
		fmt.Fprintf(r.messages, "weir: there is no event in %s\n", name)
	}
	result, err := s.FlushOne()
	if err != nil || result == "" {
		return err
	}
	return r.say(connector.Step{Call: "flush", Result: result})
}

// probed is the event that a filter is asked about when a script is loaded.
var probed = event.MakeType(1, 2)

// sayLoaded prints the calls that loading a script came to. err is that of the last one.
func (r *scriptRun) sayLoaded(s *connector.Script, err error) error {
	steps := []connector.Step{{Call: "load"}}
	if s.Probe() != "" {
		steps = append(steps, connector.Step{Call: "filter", Event: probed, Result: s.Probe()})
	}
	steps[len(steps)-1].Errors, r.errors = r.errors, nil // after which loading goes on
	if r.initialized {
		steps = append(steps, connector.Step{Call: "init"})
	}
	if err != nil {
		last := &steps[len(steps)-1]
		last.Result, last.Errors = "error", append(last.Errors, err.Error())
	}
	for _, step := range steps {
		if err := r.out.Encode(step); err != nil {
			return err
		}
	}
	return nil
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
func (r *scriptRun) Begin(call string) { r.initialized = r.initialized || call == "init" }

// Acknowledge implements connector.Output.
func (r *scriptRun) Acknowledge(through uint64) { r.acked = through }
