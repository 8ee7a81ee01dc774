package monitor

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/weirhq/weir/internal/lua"
	"github.com/weirhq/weir/internal/script"
)

// async are the tasks of one instance (3.9): functions on workers with states of their own, and file operations
// in their order.
type async struct {
	instance *instance
	tasks    chan task
	files    chan task
	done     sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	running map[*state]bool
	ended   []outcome
}

type task struct {
	id   int64
	code string // bytecode of a function
	data lua.Value
	run  func() error // a file operation
	what string
}

type outcome struct {
	id     int64
	result lua.Value
	err    error
	what   string
}

// maxTasks is how many tasks of an instance may wait.
const maxTasks = 10000

func (i *instance) workers() *async {
	if i.async != nil {
		return i.async
	}
	count := 1
	if v, err := i.state.vm.Global("TrisulPlugin.request_async_workers"); err == nil {
		count = int(toFloat(v))
	}
	most := i.host.setup.Workers
	if most <= 0 {
		most = 4
	}
	a := &async{instance: i, tasks: make(chan task, maxTasks), files: make(chan task, maxTasks), running: make(map[*state]bool)}
	for range max(1, min(count, most)) {
		a.done.Go(a.work)
	}
	a.done.Go(func() {
		for t := range a.files {
			a.end(outcome{what: t.what, err: t.run()})
		}
	})
	i.async = a
	return a
}

func (a *async) end(o outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = append(a.ended, o)
}

// work runs tasks in a state of its own, which is made for the first one.
func (a *async) work() {
	var s *state
	defer func() {
		if s != nil {
			s.close()
		}
	}()
	for t := range a.tasks {
		if s == nil {
			var err error
			if s, err = a.open(); err != nil {
				a.end(outcome{id: t.id, err: err})
				continue
			}
		}
		var result lua.Value
		results, err := s.entry.Call("execute", []byte(t.code), t.data)
		if err == nil && len(results) > 0 {
			result = results[0]
		}
		a.end(outcome{id: t.id, result: result, err: err})
	}
}

// open makes the state of a worker. stop interrupts it.
func (a *async) open() (*state, error) {
	i := a.instance
	s := &state{host: i.host, log: i.log}
	info := i.Instance
	if err := s.open(s.natives(), s.options(&info, &Groups{})); err != nil {
		s.close()
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		s.close()
		return nil, fmt.Errorf("the instance is unloaded")
	}
	a.running[s] = true
	return s, nil
}

// stop drops what waits and ends what runs.
func (a *async) stop() {
	a.mu.Lock()
	a.stopped = true
	for s := range a.running {
		s.vm.Interrupt()
	}
	a.mu.Unlock()
	for len(a.tasks) > 0 {
		select {
		case <-a.tasks:
		default:
		}
	}
	close(a.tasks)
	close(a.files)
	a.done.Wait()
}

// results hands over what tasks returned.
func (i *instance) results() {
	if i.async == nil {
		return
	}
	i.async.mu.Lock()
	ended := i.async.ended
	i.async.ended = nil
	i.async.mu.Unlock()
	for _, o := range ended {
		if o.err != nil && o.what != "" {
			i.raised("T.async", &script.Error{Message: fmt.Sprintf("%s: %v", o.what, o.err)}, 1)
		} else if o.err != nil {
			i.raised("onexecute", i.host.asScriptError(o.err, ""), 1)
		}
		i.call("onresult", "result", o.id, o.result)
	}
}

var errTasks = fmt.Errorf("%d tasks wait already", maxTasks)

// schedule is T.async:schedule: the prelude gives the number of the task, its bytecode and its data.
func (i *instance) schedule(c *lua.Call) (int, error) {
	id, err := c.Int(1)
	if err != nil {
		return 0, err
	}
	code, err := c.String(2)
	if err != nil {
		return 0, err
	}
	data, err := c.Value(3)
	if err != nil {
		return 0, err
	}
	select {
	case i.workers().tasks <- task{id: id, code: code, data: data}:
		return 0, nil
	default:
		return 0, errTasks
	}
}

// fileJob is one of the file operations of T.async.
func (i *instance) fileJob(c *lua.Call) (int, error) {
	operation, err := c.String(1)
	if err != nil {
		return 0, err
	}
	from, err := c.String(2)
	if err != nil {
		return 0, err
	}
	to, err := c.String(3)
	if err != nil {
		return 0, err
	}
	at := int64(-1)
	if !c.IsNil(4) {
		if at, err = c.Int(4); err != nil {
			return 0, err
		}
	}
	t := task{what: operation}
	switch operation {
	case "cat":
		t.run = func() error { return copyFile(from, to, os.O_APPEND) }
	case "copy":
		t.run = func() error { return copyFile(from, to, os.O_TRUNC) }
	case "rm":
		t.run = func() error { return os.Remove(from) }
	case "copybuffer":
		t.run = func() error { return writeAt(to, []byte(from), at) }
	}
	select {
	case i.workers().files <- t:
		return 0, nil
	default:
		return 0, errTasks
	}
}

func copyFile(from, to string, flag int) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|flag, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if failed := out.Close(); err == nil {
		err = failed
	}
	return err
}

// writeAt writes at an offset, or at the end when it is negative.
func writeAt(name string, b []byte, at int64) error {
	flag := os.O_WRONLY | os.O_CREATE
	if at < 0 {
		flag |= os.O_APPEND
	}
	out, err := os.OpenFile(name, flag, 0o644)
	if err != nil {
		return err
	}
	if at < 0 {
		_, err = out.Write(b)
	} else {
		_, err = out.WriteAt(b, at)
	}
	if failed := out.Close(); err == nil {
		err = failed
	}
	return err
}
