package tsdriver

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/script"
	"github.com/weirhq/weir/internal/spool"
	"github.com/weirhq/weir/timeseries"
)

func init() {
	script.RegisterAPI(API, func() script.Host { return new(host) })
}

// host runs one driver in a child of the daemon.
type host struct {
	out    *script.Writer
	driver *luaDriver
	reach  atomic.Pointer[state] // of driver, for other goroutines
	reader spool.PointReader
	points []timeseries.Point

	complained time.Time // when an error of append was told
}

// Setup implements script.Host.
func (h *host) Setup(payload []byte, out *script.Writer) error {
	var setup Setup
	if err := json.Unmarshal(payload, &setup); err != nil {
		return errors.New("cannot read the setup") // there are secrets in it
	}
	h.out = out
	var err error
	// The state is known before the script runs, which may take for ever: the daemon asks where it is.
	h.driver, err = loadDriver(setup, out, func(s *state) { h.reach.Store(s) })
	return err
}

// Frame implements script.Host.
func (h *host) Frame(kind byte, payload []byte, _ *script.Writer) error {
	head, record, ok := readHead(payload)
	if kind != kindAppend || !ok {
		return fmt.Errorf("BUG: frame of kind %d with %d bytes", kind, len(payload))
	}
	told := taken{Number: head.number}
	if err := h.append(head, record); err != nil { // of the host: the points are none, and do not come again
		told.Failed, told.Error = int(head.count), err.Error()
	} else {
		told.Refused, told.Failed = h.driver.refused, h.driver.failed
		if len(h.driver.texts) > 0 {
			told.Error = h.driver.texts[0]
		}
	}
	if err := h.settle(); err != nil { // which of them are kept is not known
		told.Refused, told.Failed, told.Error = 0, int(head.count), err.Error()
	}
	// One is enough: a driver that raises an error for every point goes on, and what it does not take is counted.
	if now := time.Now(); told.Error != "" && now.Sub(h.complained) >= time.Second {
		h.complained = now
		h.out.Error(errors.New(told.Error))
	}
	text, err := json.Marshal(told)
	if err != nil {
		return err
	}
	return h.out.Send(kindTaken, text)
}

// append gives points of a record to the driver.
func (h *host) append(head appendHead, record []byte) error {
	_, record, err := cutCount(record)
	if err != nil {
		return err
	}
	if h.points, err = h.reader.Append(h.points[:0], record); err != nil {
		return err
	}
	if uint64(head.from)+uint64(head.count) > uint64(len(h.points)) {
		return fmt.Errorf("BUG: points %d to %d of %d", head.from, uint64(head.from)+uint64(head.count), len(h.points))
	}
	err = h.driver.Append(context.Background(), h.points[head.from:head.from+head.count])
	if exit := new(lua.ExitError); errors.As(err, &exit) {
		h.exit(exit)
	}
	return nil // others are in the figures of the driver
}

// cutCount takes the number of points off a record of the queue.
func cutCount(record []byte) (count uint64, rest []byte, err error) {
	count, n := binary.Uvarint(record)
	if n <= 0 || count == 0 {
		return 0, nil, errors.New("corrupt record in the queue: it does not say how many points it has")
	}
	return count, record[n:], nil
}

// settle makes durable what the script keeps, before its points count as taken.
func (h *host) settle() error { return h.driver.settle(false) }

// exit ends the process after os.exit of the script.
func (h *host) exit(exit *lua.ExitError) {
	at := &script.Error{Message: exit.Error(), File: cmp.Or(exit.File, h.driver.setup.Script), Line: exit.Line}
	h.out.Error(at)
	h.out.Flush()
	fmt.Fprintf(os.Stderr, "%s%s\nerror: %s\n", script.PositionMark, at.Position(), at.Message)
	os.Exit(1)
}

// Answer implements script.Answerer.
func (h *host) Answer(kind byte, payload []byte, _ *script.Writer) ([]byte, error) {
	var q question
	if err := json.Unmarshal(payload, &q); kind != kindAsk || err != nil {
		return nil, fmt.Errorf("BUG: request of kind %d with %d bytes: %w", kind, len(payload), err)
	}
	h.out.Begin(q.Function)
	ctx := context.Background()
	if q.Millis > 0 {
		bounded, cancel := context.WithTimeout(ctx, time.Duration(q.Millis)*time.Millisecond)
		defer cancel()
		ctx = bounded
	}
	a, err := h.driver.answer(ctx, &q)
	if exit := new(lua.ExitError); errors.As(err, &exit) {
		h.exit(exit)
	}
	if err != nil {
		a = &answer{Code: codeOf(err), Error: err.Error()}
	}
	if err := h.settle(); err != nil {
		h.out.Error(err)
	}
	return json.Marshal(a)
}

// maxListed bounds an answer of listSeries.
const maxListed = 1 << 18

// answer calls what a question asks for.
func (d *luaDriver) answer(ctx context.Context, q *question) (*answer, error) {
	if q.Schema != nil { // one table for one schema: the state knows it by its pointer
		q.Schema = d.same(q.Schema)
	}
	switch q.Function {
	case "query":
		r, err := d.Query(ctx, q.query())
		if err != nil {
			return nil, err
		}
		return &answer{Result: toResult(r)}, nil
	case "queryTotal":
		totals, err := d.Total(ctx, q.query())
		return &answer{Totals: toBitMap(totals)}, err
	case "topk":
		r, err := d.TopK(ctx, q.query())
		if err != nil {
			return nil, err
		}
		a := &answer{Result: toResult(&r.Result)}
		for _, item := range r.Items {
			a.Items = append(a.Items, wireItem{item.Tags, toBits(item.Value), toBitMap(item.Partials)})
		}
		return a, nil
	case "listSeries":
		all, err := d.list(ctx, timeseries.ListQuery{Schema: q.Schema, Tags: q.Tags, Start: q.Start, End: q.End})
		if err == nil && len(all) > maxListed {
			err = fmt.Errorf("cannot list the series of %q: there are more than %d; name more tags", q.Schema.Name, maxListed)
		}
		return &answer{Series: all}, err
	case "getLatestTimestamp":
		at, err := d.LatestTimestamp(ctx)
		return &answer{Time: at}, err
	case "setup":
		return new(answer), d.Setup(ctx)
	case "export":
		return new(answer), d.Export(ctx)
	case "delete":
		return new(answer), d.Delete(ctx, q.Prefix, q.Tags)
	case "deleteOldData":
		return new(answer), d.DeleteOld(ctx, q.End)
	case "inspect":
		return &answer{Functions: d.found}, nil
	}
	return nil, fmt.Errorf("BUG: there is no question %q", q.Function)
}

// Idle implements script.Host.
func (h *host) Idle(*script.Writer) error { return h.settle() }

// Stop implements script.Host.
func (h *host) Stop(out *script.Writer) {
	if err := h.driver.close(); err != nil {
		out.Error(err)
	}
}

// Position implements script.Host.
func (h *host) Position() string {
	if s := h.reach.Load(); s != nil {
		return s.position()
	}
	return ""
}

// Interrupt implements script.Host.
func (h *host) Interrupt() {
	if s := h.reach.Load(); s != nil {
		s.interrupt()
	}
}

var _ script.Answerer = (*host)(nil)

var _ output = (*script.Writer)(nil)
