package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/countergroup"
	"github.com/weirhq/weir/internal/flow"
	"github.com/weirhq/weir/internal/monitor"
	"github.com/weirhq/weir/internal/telemetry"
)

// maxUpdateLine is the size of the longest line of updates, in bytes.
const maxUpdateLine = 1 << 20

// RunMonitor runs one monitor script in this process on data time, with the counter groups and the home networks of cfg, and
// shows out each call. Input is a file: of counter updates, one JSON object a line, or of flows, as for Replay; "" is stdin, which
// has updates. It returns when the script has ended, and is for one goroutine.
func RunMonitor(ctx context.Context, cfg *config.Config, script, input string, stdin io.Reader, version string, log *slog.Logger, out monitor.RunOutput) error {
	reg := telemetry.NewRegistry()
	one := *cfg
	one.Monitors = []config.Monitor{config.NewMonitor(script)}
	c := newCounting(cfg, nil, nil, reg, log, version, true)
	setup := entries(&one, version)[0].Setup
	setup.Path = script
	run, err := monitor.NewRun(setup, c.engine, c.groups, out)
	if err != nil {
		return err
	}
	c.engine.SetStages(c.meter.Stage(), run)
	r := &replay{counting: c, reader: flow.File{Decoder: flow.NewDecoder(cfg.Flows.Rates(), reg, log)}}
	if input == "" {
		err = r.updates(ctx, "standard input", stdin)
	} else {
		err = r.file(ctx, input)
	}
	if r.now > 0 {
		c.engine.Finish()
	}
	return errors.Join(err, run.Close())
}

// file reads updates or flows.
func (r *replay) file(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read the input: %w", err)
	}
	defer file.Close()
	in := bufio.NewReaderSize(file, 64<<10)
	head, _ := in.Peek(4096)
	if head = bytes.TrimSpace(head); len(head) == 0 || head[0] == '{' || json.Valid(bytes.SplitN(head, []byte("\n"), 2)[0]) || printable(head) {
		return r.updates(ctx, path, in)
	}
	return r.reader.Read(path, func(records []flow.Record, exported bool) error {
		r.count(records, exported)
		return ctx.Err()
	})
}

// printable reports whether something looks like text, which no file of flows does.
func printable(head []byte) bool {
	return bytes.IndexFunc(head, func(c rune) bool { return c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == '�' }) < 0
}

// update is a line of input.
type update struct {
	Time  *float64 `json:"ts"`
	GUID  *string  `json:"guid"`
	Key   *string  `json:"key"`
	Meter *int     `json:"meter"`
	Value *float64 `json:"value"`
}

// updates reads a file of updates and counts each in the second of its time.
func (r *replay) updates(ctx context.Context, name string, in io.Reader) error {
	batch := r.counting.engine.Batch()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxUpdateLine)
	for number := 1; lines.Scan(); number++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		u, g, err := r.update(line)
		if err != nil {
			batch.Send()
			return fmt.Errorf("%s:%d: %w, in %.200q", name, number, err, line)
		}
		if t := int64(*u.Time); t > r.now {
			batch.Send()
			r.now = t
			r.counting.engine.Tick(t)
		}
		batch.Add(g, []byte(*u.Key), *u.Meter, *u.Value)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	batch.Send()
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read the input: %w", err)
	}
	if r.now == 0 {
		return fmt.Errorf("there is no update in %s", name)
	}
	return nil
}

// update reads a line. Its error says what would be right.
func (r *replay) update(line []byte) (*update, *countergroup.Group, error) {
	const want = `each line is one counter update such as {"ts":1700000000,"guid":"{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}","key":"0A.00.00.01","meter":0,"value":1500}`
	u := new(update)
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(u); err != nil {
		return nil, nil, fmt.Errorf("cannot read the update: %v; %s", err, want)
	}
	for _, field := range []struct {
		name string
		is   bool
	}{{"ts", u.Time != nil}, {"guid", u.GUID != nil}, {"key", u.Key != nil}, {"meter", u.Meter != nil}, {"value", u.Value != nil}} {
		if !field.is {
			return nil, nil, fmt.Errorf("%q is missing; %s", field.name, want)
		}
	}
	if !(*u.Time >= 1 && *u.Time < math.MaxUint32) {
		return nil, nil, fmt.Errorf(`"ts" is %v; it is a time in Unix seconds`, *u.Time)
	}
	guid, err := countergroup.ParseGUID(*u.GUID)
	if err != nil {
		return nil, nil, err
	}
	g := r.counting.groups.Lookup(guid)
	switch {
	case g == nil:
		return nil, nil, fmt.Errorf("no counter group has the GUID %s: neither a built-in one nor one that the script defines", guid)
	case *u.Meter < 0 || *u.Meter >= len(g.Meters):
		return nil, nil, fmt.Errorf(`"meter" is %d; the counter group %q has the meters 0 to %d`, *u.Meter, g.Title, len(g.Meters)-1)
	case *u.Key == "" || len(*u.Key) > countergroup.MaxKey:
		return nil, nil, fmt.Errorf(`"key" has %d bytes; it has 1 to %d`, len(*u.Key), countergroup.MaxKey)
	}
	return u, g, nil
}
