package script

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socket    = 3 // file descriptor of the socket to the daemon
	areaFile  = 4 // file descriptor of the area that the daemon shares
	idleEvery = time.Second
	window    = 4       // frames a child has and has not ended, at most
	maxKept   = 4 << 20 // bytes of a buffer that is used again
)

// The calls of a host run on the process's first thread: only its stack grows as far
// as the supervisor allows later.
func init() {
	if len(os.Args) > 1 && os.Args[1] == Command {
		runtime.LockOSThread()
	}
}

// Command is the subcommand of this program that runs a child: "script-host API NAME".
const Command = "script-host"

// errLost is why a host ends without having been asked.
var errLost = errors.New("the daemon is gone")

// Serve runs host in this process until the daemon asks it to stop. It is the
// whole of a child: it talks on file descriptor 3, where the supervisor put a
// socket, and ends the process, with those it started, when the daemon is gone.
func Serve(host Host) error {
	runtime.LockOSThread()
	unix.CloseOnExec(socket)
	file := os.NewFile(socket, "daemon")
	conn, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("cannot talk to the daemon: %w (a script host is started by weir, not by hand)", err)
	}
	file.Close()
	shared, err := openArea(areaFile)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("cannot open the memory that the daemon shares: %w", err)
	}
	return serve(conn, shared, host, func() {
		if unix.Getpgrp() == os.Getpid() {
			_ = unix.Kill(0, unix.SIGKILL) // itself too
		}
		os.Exit(1)
	})
}

// server is the child's side of a socket.
type server struct {
	host   Host
	area   area
	out    *Writer
	lost   func() // ends the process when the daemon is gone
	frames chan inFrame
	free   chan []byte // buffers to use again
	pings  chan uint64
}

type inFrame struct {
	kind    byte
	payload []byte
	inArea  bool // payload is there, and not to be used for another frame
}

func serve(conn io.ReadWriter, shared area, host Host, lost func()) error {
	s := &server{
		host: host, area: shared, lost: lost, out: &Writer{conn: conn, calls: new(calls)},
		frames: make(chan inFrame, 2*window), free: make(chan []byte, 2*window), pings: make(chan uint64, 1),
	}
	go s.read(bufio.NewReaderSize(conn, 4<<10)) // for headers and short frames: the rest is read to where it stays
	go s.heartbeat()
	return s.work()
}

// read sorts frames: those about the process are handled at once, the others wait for work.
func (s *server) read(r io.Reader) {
	defer close(s.frames)
	defer close(s.pings)
	for {
		var buf []byte
		select {
		case buf = <-s.free:
		default:
		}
		kind, payload, err := readFrame(r, buf)
		if err != nil {
			s.lost()
			return
		}
		switch kind {
		case kindPing:
			var p ping
			_ = json.Unmarshal(payload, &p) // by the daemon: the same program
			select {
			case s.pings <- p.Sequence:
			default: // the answer to the one before says the same
			}
			s.recycle(payload)
		case kindInterrupt:
			s.out.calls.interrupt(s.host.Interrupt)
			s.recycle(payload)
		case kindArea:
			f, err := s.area.read(payload)
			if err != nil {
				s.lost()
				return
			}
			s.recycle(payload)
			s.frames <- f
		default:
			s.frames <- inFrame{kind: kind, payload: payload}
		}
	}
}

func (s *server) recycle(buf []byte) {
	if cap(buf) > maxKept {
		return
	}
	select {
	case s.free <- buf:
	default:
	}
}

func (s *server) heartbeat() {
	for sequence := range s.pings {
		p := s.out.calls.pong()
		p.Sequence, p.Errors, p.Overtime, p.Unsaid = sequence, s.out.errors.Load(), s.out.overtime.Load(), s.out.unsaid.Load()
		if p.Name != "" {
			p.Position = cut(s.host.Position())
		}
		s.out.sendNow(kindPong, encode(p))
	}
}

// work makes the calls, one after another.
func (s *server) work() (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("BUG: the script host panicked: %v", v)
			s.out.sendNow(kindFailed, encode(&Error{Message: cut(err.Error()), Traceback: cut(string(debug.Stack()))}))
		}
	}()
	s.out.sendNow(kindHello, encode(hello{protocol, s.area != nil}))
	f, ok := <-s.frames
	if !ok {
		return errLost
	}
	if f.kind != kindSetup {
		return fmt.Errorf("%w: kind %d before the setup", errFrame, f.kind)
	}
	err = s.call("setup", func() error { return s.host.Setup(f.payload, s.out) })
	if err != nil {
		s.out.sendNow(kindFailed, encode(asError(err)))
		return err
	}
	var r ready
	if placer, ok := s.host.(Placer); ok {
		r.Place = cut(placer.Place())
	}
	s.out.sendNow(kindReady, encode(r))
	return s.loop()
}

func (s *server) call(name string, f func() error) error {
	s.out.calls.begin(name)
	defer s.out.calls.end()
	return f()
}

func (s *server) loop() error {
	var done, told uint64 // frames
	var timer <-chan time.Time
	started, drained := false, false // drained: idle was called since the last frame
	idle := func() {
		if err := s.call("idle", func() error { return s.host.Idle(s.out) }); err != nil {
			s.out.Error(err)
		}
		s.out.Flush()
		timer = time.After(idleEvery)
	}
	for {
		var f inFrame
		var ok bool
		select {
		case f, ok = <-s.frames:
		default:
			if told != done {
				s.out.progress(done, 0)
				told = done
			}
			if started && !drained {
				drained = true
				idle()
				continue
			}
			select {
			case f, ok = <-s.frames:
			case <-timer:
				idle()
				continue
			}
		}
		if !ok {
			return errLost
		}
		switch f.kind {
		case kindStart:
			started = true
		case kindStop:
			_ = s.call("stop", func() error { s.host.Stop(s.out); return nil })
			s.out.progress(done, 0)
			s.out.sendNow(kindStopped, nil)
			return nil
		default:
			s.out.progress(done, done+1)
			told = done
			if err := s.handle(f); err != nil {
				s.out.Error(err)
			}
			done++
			drained = false
			if !f.inArea {
				s.recycle(f.payload)
			}
		}
	}
}

// handle works on one frame of the contract, or answers one request.
func (s *server) handle(f inFrame) error {
	if f.kind >= FirstKind {
		return s.call("frame", func() error { return s.host.Frame(f.kind, f.payload, s.out) })
	}
	if f.kind != kindRequest || len(f.payload) < 5 {
		return fmt.Errorf("%w: kind %d with %d bytes", errFrame, f.kind, len(f.payload))
	}
	answerer, ok := s.host.(Answerer)
	id, kind, payload := binary.BigEndian.Uint32(f.payload), f.payload[4], f.payload[5:]
	if !ok {
		s.out.reply(id, nil, errors.New("this host answers no requests"))
		return nil
	}
	return s.call("request", func() error {
		answer, err := answerer.Answer(kind, payload, s.out)
		s.out.reply(id, answer, err)
		return nil
	})
}
