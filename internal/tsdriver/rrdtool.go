package tsdriver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// rrdPatience bounds one command of rrdtool.
const rrdPatience = 30 * time.Second

// maxRRDLines bounds the answer to one command.
const maxRRDLines = 1_000_000

// rrdtool is the program of that name, which is started at the first command and gets one
// after another. It belongs to the goroutine of the calls.
type rrdtool struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// run gives a command to the program and returns the lines of its answer.
func (r *rrdtool) run(ctx context.Context, args ...string) ([]string, error) {
	line, err := rrdLine(args)
	if err != nil {
		return nil, err
	}
	if r.cmd == nil {
		if err := r.start(); err != nil {
			return nil, err
		}
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = r.cmd.Process.Kill() // what is read then ends
		close(ended)
	})
	lines, err := r.exchange(line)
	if !stop() {
		<-ended
		err = fmt.Errorf("rrdtool did not answer in time: %w", context.Cause(ctx))
	}
	if err != nil && !errors.As(err, new(rrdError)) {
		r.close()
	}
	return lines, err
}

// rrdError is what rrdtool says instead of an answer.
type rrdError string

func (e rrdError) Error() string { return string(e) }

func (r *rrdtool) start() error {
	cmd := exec.Command("rrdtool", "-")
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start rrdtool, of the package of that name: %w", err)
	}
	r.cmd, r.in, r.out = cmd, in, bufio.NewReader(out)
	return nil
}

func (r *rrdtool) exchange(line string) (lines []string, err error) {
	if _, err := io.WriteString(r.in, line); err != nil {
		return nil, fmt.Errorf("rrdtool has ended: %w", err)
	}
	for {
		text, err := r.out.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("rrdtool has ended: %w", err)
		}
		text = strings.TrimRight(text, "\n")
		if strings.HasPrefix(text, "OK ") {
			return lines, nil
		}
		if message, ok := strings.CutPrefix(text, "ERROR: "); ok {
			return nil, rrdError(message)
		}
		if len(lines) >= maxRRDLines {
			return nil, fmt.Errorf("rrdtool answers with more than %d lines", maxRRDLines)
		}
		lines = append(lines, text)
	}
}

// close ends the program.
func (r *rrdtool) close() {
	if r.cmd == nil {
		return
	}
	r.in.Close()
	_ = r.cmd.Process.Kill() // it has answered every command
	_ = r.cmd.Wait()
	r.cmd = nil
}

// rrdLine quotes arguments as rrdtool reads them: there is no escape in quotes.
func rrdLine(args []string) (string, error) {
	var line strings.Builder
	for i, arg := range args {
		if i > 0 {
			line.WriteByte(' ')
		}
		quote := "'"
		if strings.Contains(arg, "'") {
			quote = `"`
		}
		if strings.Contains(arg, quote) || strings.ContainsAny(arg, "\n\r\x00") {
			return "", fmt.Errorf("cannot pass %q to rrdtool: it must not hold both kinds of quotes or a line end", cut(arg))
		}
		line.WriteString(quote + arg + quote)
	}
	return line.String() + "\n", nil
}

// rrdTable is the answer to fetch.
type rrdTable struct {
	start, step, end int64 // the first row covers (start, start+step]
	names            []string
	columns          [][]float64
}

// parseFetch reads the lines of fetch: names, an empty line, and a line for each row. step is
// used when there is one row only.
func parseFetch(lines []string, step int64) (*rrdTable, error) {
	if len(lines) == 0 {
		return nil, errors.New("rrdtool says nothing")
	}
	t := &rrdTable{names: strings.Fields(lines[0]), step: step}
	t.columns = make([][]float64, len(t.names))
	first, rows := int64(0), 0
	for _, line := range lines[1:] {
		if line == "" {
			continue
		}
		at, values, ok := strings.Cut(line, ":")
		when, err := strconv.ParseInt(strings.TrimSpace(at), 10, 64)
		fields := strings.Fields(values)
		if !ok || err != nil || len(fields) != len(t.names) {
			return nil, fmt.Errorf("rrdtool says %q", cut(line))
		}
		for i, field := range fields {
			v, err := strconv.ParseFloat(strings.TrimPrefix(field, "-nan"), 64)
			if err != nil {
				v = math.NaN()
			}
			t.columns[i] = append(t.columns[i], v)
		}
		switch rows++; rows {
		case 1:
			first = when
		case 2:
			t.step = when - first
		}
		t.end = when
	}
	t.start = first - t.step
	return t, nil
}

// parseLast reads the lines of lastupdate: names, an empty line, and the newest row.
func parseLast(lines []string) (last int64, sources int, err error) {
	if len(lines) < 3 {
		return 0, 0, fmt.Errorf("rrdtool says %d lines", len(lines))
	}
	at, _, _ := strings.Cut(lines[2], ":")
	last, err = strconv.ParseInt(strings.TrimSpace(at), 10, 64)
	return last, len(strings.Fields(lines[0])), err
}
