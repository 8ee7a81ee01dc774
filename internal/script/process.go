package script

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
)

// Process is one run of a script. A Process that has ended stays so: frames for
// it are refused, never handed to the next run.
type Process struct {
	spec     Spec
	handler  Handler
	registry *Registry
	count    *counters
	log      *slog.Logger
	limits   limits

	born  time.Time
	child *child
	out   *outbox
	ready chan struct{} // closed when the script has loaded
	done  chan struct{} // closed when everything has ended; then exit is set
	exit  *Exit

	areaUsed atomic.Bool // the child reads frames from it
	requests atomic.Uint32
	handling atomic.Bool // the handler has the frame that was read last
	heard    atomic.Int64
	quiet    quiet

	demanded  time.Duration // of the processors at the last turn of hold, which has this and
	computing int           // for how many turns more it counts as computing

	gate   sync.Mutex // order of OnReady and OnFrame
	active bool
	early  []Frame // what came before the script took over
	size   int     // of it

	mu        sync.Mutex
	pong      pong
	asked     uint64 // number of the last ping
	errors    errorRate
	replies   map[uint32]chan reply
	condemned string // why it is to be killed
	raised    bool   // because of too many errors
	failure   *Error
	stopping  bool
	looked    time.Time     // when the last pong came
	computed  time.Duration // by then
	before    time.Duration // what it had computed when the call of the last pong began, as far as that was seen
	inCall    time.Duration // what that call had computed by then
	nice      int           // steps of priority it gave up
	greedy    bool          // it had to since it was started
	offended  bool          // it, or the one before it: others must not suffer
	held      bool          // while others compute
	heldSince time.Time
	heldFor   time.Duration // before that
	position  string        // from the last words
	place     string        // of what works on frames
	telling   bool          // output says what it is
	output    string
}

// limits are those of the log.
type limits struct {
	output *telemetry.Limited // what the script prints and logs
	errors *telemetry.Limited // what it raises: no flood of output hides it
}

func newLimits(log *slog.Logger) limits {
	return limits{telemetry.NewLimited(log, outputPeriod, outputBurst), telemetry.NewLimited(log, outputPeriod, errorBurst)}
}

type reply struct {
	payload []byte
	err     error
}

func newProcess(spec Spec, handler Handler, registry *Registry, count *counters, log *slog.Logger, limits limits) *Process {
	return &Process{
		spec: spec, handler: handler, registry: registry, count: count, born: time.Now(), log: log, limits: limits,
		out: newOutbox(), ready: make(chan struct{}), done: make(chan struct{}), replies: make(map[uint32]chan reply),
		errors: errorRate{limit: spec.Budget.Errors, begin: time.Now()},
	}
}

// start starts the process. What it says goes to the handler after activate.
func (p *Process) start(start starter) error {
	p.hear()
	child, err := start(p.spec, p.line)
	if err != nil {
		return err
	}
	p.child = child
	reading := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(reading)
		p.read()
	}()
	go p.write(stopped)
	go p.watch(stopped)
	go func() {
		state := p.await(reading)
		<-reading
		child.conn.Close()
		close(stopped)
		p.end(state)
	}()
	return nil
}

// await returns how the process ended. One that only hangs up is ended.
func (p *Process) await(reading <-chan struct{}) status {
	select {
	case state := <-p.child.ended:
		return state
	case <-reading:
	}
	select {
	case state := <-p.child.ended:
		return state
	case <-time.After(hungUp):
		p.condemn("killed: it hung up and did not end")
		p.child.kill()
		return <-p.child.ended
	}
}

// Send hands the script a frame of its contract and never waits: ErrFull says
// that it has enough to do, ErrEnded that this process takes nothing more.
// payload must not be changed afterwards.
func (p *Process) Send(kind byte, payload []byte) error {
	_, err := p.out.put(outFrame{kind: kind, parts: [][]byte{payload}})
	return err
}

// SendWait is Send that waits while the script has enough to do. Only the caller waits.
// The parts are one payload: what is in several places need not be put together.
func (p *Process) SendWait(ctx context.Context, kind byte, parts ...[]byte) error {
	return p.out.putWait(ctx, outFrame{kind: kind, parts: parts})
}

// Request asks the script, after what was sent before, and waits for the answer.
func (p *Process) Request(ctx context.Context, kind byte, payload []byte) ([]byte, error) {
	id := p.requests.Add(1)
	if id == 0 {
		id = p.requests.Add(1)
	}
	answer := make(chan reply, 1)
	p.mu.Lock()
	p.replies[id] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.replies, id)
		p.mu.Unlock()
	}()
	if err := p.out.putWait(ctx, outFrame{kind, [][]byte{payload}, id}); err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		return r.payload, r.err
	case <-p.done:
		return nil, p.exit
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer from script %q: %w", p.spec.Name, ctx.Err())
	}
}

// Held is how many frames wait for the script or are being worked on.
func (p *Process) Held() int { return p.out.held() }

func (p *Process) hear() { p.heard.Store(time.Now().UnixNano()) }

// activate lets the script take over: the handler hears of it, and then of its frames.
func (p *Process) activate() {
	p.handler.OnReady(p)
	p.gate.Lock()
	defer p.gate.Unlock()
	p.active = true
	for _, f := range p.early {
		p.handler.OnFrame(f.Kind, f.Payload)
	}
	p.early = nil
	p.out.putControl(kindStart, nil)
}

// stop ends the process in order, or kills it when ctx ends before. In the last quarter of the time calls
// are interrupted: one that waits for a peer can end in order too.
func (p *Process) stop(ctx context.Context) {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	p.hold(false)
	p.out.finish()
	var interrupt <-chan time.Time
	var left time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
		interrupt = time.After(left / 4 * 3)
	}
	for {
		select {
		case <-p.done:
			return
		case <-interrupt:
			p.out.putControl(kindInterrupt, nil)
			interrupt = time.After(max(left/16, fastestLook)) // the call after it as well
		case <-ctx.Done():
			p.condemn("killed: it did not stop in time")
			p.child.kill()
			<-p.done
			return
		}
	}
}

// write writes what the outbox has.
func (p *Process) write(stopped <-chan struct{}) {
	defer p.child.area.close()
	for {
		select {
		case <-p.out.wake:
		case <-stopped:
			return
		}
		for {
			out, ok := p.out.take()
			if !ok {
				break
			}
			var a area
			if p.areaUsed.Load() {
				a = p.child.area
			}
			buffers := out.encode(a)
			p.count.framesIn.Add(int64(len(out.frames)))
			for i := range out.frames {
				p.count.bytesIn.Add(int64(headerSize + out.frames[i].size()))
			}
			if _, err := (&buffers).WriteTo(p.child.conn); err != nil {
				return // the reader and the process say more
			}
		}
	}
}

// read reads frames until there are no more. One that makes no sense ends the process.
func (p *Process) read() {
	r := bufio.NewReaderSize(p.child.conn, 64<<10)
	var buf []byte
	for {
		kind, payload, err := readFrame(r, buf)
		if err == nil {
			p.hear()
			p.count.bytesOut.Add(int64(headerSize + len(payload)))
			err = p.take(kind, payload)
			p.hear()
		}
		if err != nil {
			if errors.Is(err, errFrame) {
				p.condemn(fmt.Sprintf("killed: it does not speak the protocol: %v", err))
				p.child.kill()
			}
			return
		}
		if buf = payload; cap(buf) > maxKept {
			buf = nil
		}
	}
}

// take handles one frame of the child.
func (p *Process) take(kind byte, payload []byte) error {
	if kind >= FirstKind {
		return p.deliver(kind, payload)
	}
	decode := func(v any) error {
		if err := json.Unmarshal(payload, v); err != nil {
			return fmt.Errorf("%w: kind %d: %w", errFrame, kind, err)
		}
		return nil
	}
	switch kind {
	case kindHello:
		var h hello
		if err := decode(&h); err != nil {
			return err
		}
		if h.Protocol != protocol {
			return fmt.Errorf("%w: protocol %d, this is %d", errFrame, h.Protocol, protocol)
		}
		p.areaUsed.Store(h.Area)
		p.child.limit()
		p.out.putControl(kindSetup, p.spec.Setup)
	case kindReady:
		var r ready
		if len(payload) > 0 { // a host in another language has nothing to say
			if err := decode(&r); err != nil {
				return err
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		select {
		case <-p.ready:
			return fmt.Errorf("%w: ready twice", errFrame)
		default:
			p.place = r.Place
			close(p.ready)
		}
	case kindFailed:
		e := new(Error)
		if err := decode(e); err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failure = e
	case kindProgress:
		if len(payload) != 16 || !p.out.progress(binary.BigEndian.Uint64(payload), binary.BigEndian.Uint64(payload[8:])) {
			return fmt.Errorf("%w: progress %x", errFrame, payload)
		}
		p.mu.Lock()
		p.pong.Name, p.pong.Position = "", "" // that call is over
		p.mu.Unlock()
	case kindReply:
		if len(payload) < 5 {
			return fmt.Errorf("%w: reply with %d bytes", errFrame, len(payload))
		}
		p.answer(binary.BigEndian.Uint32(payload), payload[4], payload[5:])
	case kindPong:
		var q pong
		if err := decode(&q); err != nil {
			return err
		}
		return p.hearPong(q)
	case kindError:
		e := new(Error)
		if err := decode(e); err != nil {
			return err
		}
		p.count.noteError(e.Error(), e.Position())
		p.say(p.limits.errors, slog.LevelError, "an error in the script", "error", e.Error(), "traceback", e.Traceback)
	case kindLog:
		var l logLine
		if err := decode(&l); err != nil {
			return err
		}
		if p.spec.Output != nil && l.Kind != "" {
			p.spec.Output("log", l.Kind, l.Text)
			return nil
		}
		p.say(p.limits.output, slog.Level(l.Level), l.Text)
	case kindStopped:
	default:
		return fmt.Errorf("%w: unknown kind %d", errFrame, kind)
	}
	return nil
}

// deliver hands a frame to the handler, or keeps it until the script takes over.
func (p *Process) deliver(kind byte, payload []byte) error {
	p.gate.Lock()
	defer p.gate.Unlock()
	p.count.framesOut.Add(1)
	if p.active {
		p.handling.Store(true)
		p.handler.OnFrame(kind, payload)
		p.handling.Store(false)
		return nil
	}
	if p.size += len(payload); p.size > MaxPayload {
		return fmt.Errorf("%w: more than %d bytes before it was started", errFrame, MaxPayload)
	}
	p.early = append(p.early, Frame{kind, append([]byte(nil), payload...)})
	return nil
}

func (p *Process) answer(id uint32, status byte, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer, ok := p.replies[id]
	if !ok {
		return // the caller went away
	}
	delete(p.replies, id)
	if status == 1 {
		answer <- reply{payload: append([]byte(nil), payload...)}
	} else {
		answer <- reply{err: fmt.Errorf("script %q: %s", p.spec.Name, cut(string(payload)))}
	}
}

// line takes what the child printed.
func (p *Process) line(stream, text string) {
	p.count.lines.Add(1)
	if stream == "stderr" {
		p.mu.Lock()
		if len(text) > len(PositionMark) && text[:len(PositionMark)] == PositionMark {
			p.position = text[len(PositionMark):]
			p.mu.Unlock()
			return
		}
		if text != "" && !p.telling {
			p.output, p.telling = text, telling.MatchString(text)
		}
		p.mu.Unlock()
	}
	if p.spec.Output != nil {
		p.spec.Output(stream, "", text)
		return
	}
	p.say(p.limits.output, slog.LevelInfo, text, "stream", stream)
}

// say writes to the log at a limited rate.
func (p *Process) say(limited *telemetry.Limited, level slog.Level, text string, args ...any) {
	missed, ok := limited.Allow()
	if !ok {
		p.count.unsaid.Add(1)
		return
	}
	if missed > 0 {
		args = append(args, "left_out", missed)
	}
	p.log.Log(context.Background(), level, text, args...)
}

// end is called once, when nothing of the process is left.
func (p *Process) end(state status) {
	e := &Exit{Name: p.spec.Name, Code: state.code, Signal: state.signal}
	e.Working, e.Waiting = p.out.close()
	p.mu.Lock()
	p.count.end(p, p.pong)
	e.Asked, e.Failure, e.Errors = p.stopping && p.condemned == "", p.failure, p.raised
	if p.pong.Name != "" {
		e.Computed = p.computed - p.before
	}
	e.Call, e.Position = p.pong.Name, cmp.Or(p.position, p.pong.Position)
	if p.raised {
		e.Position = cmp.Or(p.count.lastError().Position, e.Position)
	}
	if p.failure != nil {
		e.Position = "" // the failure has it
		e.Call = ""
	}
	switch {
	case p.condemned != "":
		e.Reason = p.condemned
	case e.Failure != nil:
		e.Reason = "failed"
	case state.signal != "":
		e.Reason, e.Output = "was ended by "+state.signal, p.output
	case e.Asked && state.code == 0:
		e.Reason, e.Call, e.Position = "stopped", "", ""
	default:
		e.Reason, e.Output = fmt.Sprintf("exited with code %d", state.code), p.output
	}
	if e.Position == "" && e.Failure == nil && !e.Asked {
		if e.Working != nil {
			e.Position = p.place
		}
		e.Position = cmp.Or(e.Position, p.spec.Path)
	}
	p.exit = e
	p.mu.Unlock()
	close(p.done)
}
