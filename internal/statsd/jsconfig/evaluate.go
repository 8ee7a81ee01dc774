package jsconfig

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/parser"
)

// Bounds on evaluating a file. A call into a built-in function cannot be
// interrupted, so what built-ins may produce is bounded by the prelude, and a
// file that is still busy after patience is given up: its goroutine is left behind.
const (
	maxTime   = 2 * time.Second
	patience  = 3 * time.Second
	maxStack  = 500       // calls
	maxDepth  = 200       // open brackets, which cost the parser stack and time that nothing interrupts
	maxHeap   = 128 << 20 // bytes the process may grow by
	watchHeap = 2 * time.Millisecond
)

// assignment precedes the text, on a line of its own so that columns stay right.
const assignment = "config =\n"

// source is a text to evaluate.
type source struct {
	name, directory string
	text            string
}

// evaluate runs the text and hands the resulting object to use, still inside
// the bounds because reading properties can run code of the file.
func evaluate(src source, use func(vm *goja.Runtime, config *goja.Object, at positions) error) error {
	if p := tooDeep(src.text); p.line > 0 {
		return &Error{Line: p.line, Column: p.column, Message: fmt.Sprintf("more than %d brackets are open here", maxDepth)}
	}
	done, stop := make(chan error, 1), make(chan struct{})
	defer close(stop)
	vm := goja.New()
	watching := make(chan struct{})
	go watch(vm, watching, stop)
	<-watching
	go func() {
		defer func() {
			if r := recover(); r != nil { // a defect of the engine must not take the daemon with it
				done <- fmt.Errorf("cannot evaluate the file: %v", r)
			}
		}()
		done <- run(vm, src, use)
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		return errBusy
	}
}

var errBusy = fmt.Errorf("still evaluating after %v: a configuration must not wait or loop", maxTime)

// watch interrupts vm when it takes too long or too much memory.
func watch(vm *goja.Runtime, ready chan<- struct{}, stop <-chan struct{}) {
	heap := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC() // garbage from before would hide how much the file takes
	start, before := time.Now(), heap()
	close(ready)
	tick := time.NewTicker(watchHeap)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			if time.Since(start) > maxTime {
				vm.Interrupt(errBusy)
				return
			}
			if heap() > before+maxHeap {
				vm.Interrupt(errors.New("the file takes too much memory while it is evaluated"))
				return
			}
		}
	}
}

// tooDeep is where more than maxDepth brackets are open, with those in strings
// and comments; the zero position when that is nowhere.
func tooDeep(text string) position {
	depth, line, start := 0, 1, 0
	for i, c := range []byte(text) {
		switch c {
		case '(', '[', '{':
			if depth++; depth > maxDepth {
				return position{line, i - start + 1}
			}
		case ')', ']', '}':
			depth = max(depth-1, 0)
		case '\n':
			line, start = line+1, i+1
		}
	}
	return position{}
}

func run(vm *goja.Runtime, src source, use func(*goja.Runtime, *goja.Object, positions) error) error {
	// A byte order mark is white space to JavaScript; the parser does not know.
	text := strings.TrimPrefix(src.text, "\uFEFF")
	if blank(text) {
		return &Error{Line: 1, Column: 1, Message: "the file is empty: it must hold a JavaScript object such as { port: 8125 }"}
	}
	program, err := parser.ParseFile(nil, src.name, assignment+text, 0, parser.WithDisableSourceMaps)
	if err != nil {
		return syntaxError(err, text)
	}
	compiled, err := goja.CompileAST(program, false)
	if err != nil {
		return syntaxError(err, text)
	}
	vm.SetMaxCallStackSize(maxStack)
	if err := prepare(vm, src); err != nil {
		return err
	}
	if _, err := vm.RunProgram(compiled); err != nil {
		return runtimeError(err)
	}
	at := positionsOf(program)
	value := vm.Get("config")
	config, ok := value.(*goja.Object)
	if !ok {
		shown := "undefined"
		if value != nil {
			shown = value.String()
		}
		return &Error{Line: 1, Column: 1, Message: fmt.Sprintf("the file evaluates to %q: it must be an object such as { port: 8125 }", shown)}
	}
	var failed error
	if thrown := vm.Try(func() { failed = use(vm, config, at) }); thrown != nil {
		return runtimeError(thrown)
	}
	return failed
}

// blank reports whether there is nothing but white space, which makes the parser
// point at the end of the file.
func blank(text string) bool { return strings.TrimSpace(text) == "" }

func syntaxError(err error, text string) error {
	message, line, column := err.Error(), 0, 0
	var list parser.ErrorList
	var one *goja.CompilerSyntaxError
	switch {
	case errors.As(err, &list) && len(list) > 0:
		message, line, column = list[0].Message, list[0].Position.Line, list[0].Position.Column
	case errors.As(err, &one):
		message = one.Message
		if one.File != nil {
			p := one.File.Position(one.Offset)
			line, column = p.Line, p.Column
		}
	}
	line, column = atToken(text, message, max(line-1, 1), max(column, 1))
	return &Error{Line: line, Column: column, Message: "syntax error: " + message +
		"; the file must hold one JavaScript object such as { port: 8125, backends: ['./backends/console'] }"}
}

// atToken corrects a place: where a name was expected the parser points at the
// token after the one it names.
func atToken(text, message string, line, column int) (int, int) {
	token, ok := strings.CutPrefix(message, "Unexpected token ")
	if !ok {
		return line, column
	}
	rows := strings.Split(text, "\n")
	if line > len(rows) || column > len(rows[line-1])+1 || strings.HasPrefix(rows[line-1][column-1:], token) {
		return line, column
	}
	before := strings.Join(append(rows[:line-1:line-1], rows[line-1][:column-1]), "\n")
	i := strings.LastIndex(before, token)
	if i < 0 {
		return line, column
	}
	return 1 + strings.Count(before[:i], "\n"), i - strings.LastIndexByte(before[:i], '\n')
}

func runtimeError(err error) error {
	var interrupted *goja.InterruptedError
	if errors.As(err, &interrupted) {
		if cause, ok := interrupted.Value().(error); ok {
			return place(cause.Error(), interrupted.Stack())
		}
	}
	var overflow *goja.StackOverflowError
	if errors.As(err, &overflow) {
		return place("the calls in the file are nested too deeply", overflow.Stack())
	}
	var thrown *goja.Exception
	if errors.As(err, &thrown) {
		message := "the file throws an error"
		if thrown.Value() != nil {
			message = thrown.Value().String()
		}
		return place(message, thrown.Stack())
	}
	return err
}

// place finds the innermost call that is in the file.
func place(message string, stack []goja.StackFrame) error {
	e := &Error{Message: message}
	for _, frame := range stack {
		if p := frame.Position(); p.Line > 0 && frame.SrcName() != preludeName {
			e.Line, e.Column = max(p.Line-1, 1), p.Column
			break
		}
	}
	return e
}

// positions knows where in the file a value stands, by its path such as
// "servers[0].port"; only what is written as a literal has a place.
type positions map[string]position

type position struct{ line, column int }

func positionsOf(program *ast.Program) positions {
	at := make(positions)
	mark := func(path string, n ast.Node) {
		p := program.File.Position(int(n.Idx0()) - program.File.Base())
		at[path] = position{max(p.Line-1, 1), p.Column}
	}
	var walk func(path string, e ast.Expression)
	walk = func(path string, e ast.Expression) {
		switch e := e.(type) {
		case *ast.ObjectLiteral:
			for _, p := range e.Value {
				keyed, ok := p.(*ast.PropertyKeyed)
				if !ok {
					continue
				}
				key, ok := keyed.Key.(*ast.StringLiteral)
				if !ok {
					continue
				}
				name := key.Value.String()
				if path != "" {
					name = path + "." + name
				}
				mark(name, keyed.Value)
				walk(name, keyed.Value)
			}
		case *ast.ArrayLiteral:
			for i, item := range e.Value {
				if item != nil {
					name := fmt.Sprintf("%s[%d]", path, i)
					mark(name, item)
					walk(name, item)
				}
			}
		}
	}
	if len(program.Body) > 0 {
		if statement, ok := program.Body[0].(*ast.ExpressionStatement); ok {
			if assign, ok := statement.Expression.(*ast.AssignExpression); ok {
				walk("", assign.Right)
			}
		}
	}
	return at
}

// find is the place of path, or of the nearest literal around it.
func (at positions) find(path string) position {
	for path != "" {
		if p, ok := at[path]; ok {
			return p
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return position{}
}
