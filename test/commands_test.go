package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are what scripts can do besides the commands of testscript:
//
//	start ARGS...            run weir in the background until it is ready; then $HTTP, $HTTP_ADDRESS, $UDP, $TCP, $UNIX and $MANAGEMENT are
//	                         where it listens
//	[!] end SIGNAL           send the daemon a signal and wait for its end; with ! the exit code is not 0.
//	                         Its standard output and log become stdout and stderr
//	signal SIGNAL            send the daemon a signal
//	log REGEXP               wait until the log matches
//	send NETWORK LINE...     send lines to the daemon: one datagram, or one connection
//	hold NETWORK             open a connection that never sends, until the end of the script
//	flood NETWORK N          send N lines "flood:1|c", in datagrams of 100 lines
//	long NETWORK BYTES       send one line of that length, good lines around it when it is a stream
//	names NETWORK N          send N counters with different names
//	token TOKEN              what get shows from now on
//	[!] get PATH [REGEXP]    ask the HTTP API until the answer matches; the answer becomes stdout. With ! the answer is an error
//	manage COMMAND           ask the management console; the answer becomes stdout
//	balanced                 the ledger of the daemon balances
//	graphite FILE            listen as a Graphite server that writes to FILE; $GRAPHITE is its port. Without FILE it stops;
//	                         with -deaf for FILE it accepts and reads nothing
//	fill FILE...             put the variables of the script in for ${NAME}
//	lines FILE REGEXP...     wait until the file has a line for each expression
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"start": start, "end": end, "signal": sendSignal, "log": waitLog, "send": send, "hold": hold, "flood": flood, "get": get,
	"manage": manage, "balanced": balanced, "graphite": listenGraphite, "lines": waitLines, "fill": fill, "long": long, "names": names, "token": token,
}

// world is what the commands of one script share.
type world struct {
	daemon   *process
	graphite *graphite
}

type worldKey struct{}

func of(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// running is the world of a script that has started a daemon.
func running(ts *testscript.TestScript) *process {
	d := of(ts).daemon
	if d == nil {
		ts.Fatalf("start comes first")
	}
	return d
}

func setup(env *testscript.Env) error {
	w := new(world)
	env.Values[worldKey{}] = w
	env.Defer(func() {
		if w.daemon != nil {
			w.daemon.kill()
		}
		if w.graphite != nil {
			w.graphite.close()
		}
	})
	env.Setenv("TZ", "UTC")
	env.Setenv("PATH", filepath.Dir(binary)+string(os.PathListSeparator)+env.Getenv("PATH"))
	return nil
}

func refuse(ts *testscript.TestScript, neg bool) {
	if neg {
		ts.Fatalf("! makes no sense here")
	}
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	w := of(ts)
	if w.daemon != nil && w.daemon.running() {
		ts.Fatalf("a daemon runs already")
	}
	env := append(environment(), "WORK="+ts.Getenv("WORK"), "TOKEN="+ts.Getenv("TOKEN"))
	p, err := run(ts.MkAbs("."), env, args...)
	ts.Check(err)
	w.daemon = p
	p.token = ts.Getenv("TOKEN")
	ts.Setenv("HTTP", p.http)
	ts.Setenv("HTTP_ADDRESS", p.http[strings.LastIndex(p.http, "/")+1:])
	ts.Setenv("WEIR_URL", p.http)
	ts.Setenv("WEIR_TOKEN", p.token)
	ts.Setenv("UDP", p.udp)
	ts.Setenv("TCP", p.tcp)
	ts.Setenv("UNIX", p.unix)
	ts.Setenv("MANAGEMENT", p.management)
}

var signals = map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}

func signalOf(ts *testscript.TestScript, args []string) syscall.Signal {
	if len(args) == 1 {
		if s, ok := signals[args[0]]; ok {
			return s
		}
	}
	ts.Fatalf("want one of the signals TERM, INT, HUP, KILL")
	return 0
}

func end(ts *testscript.TestScript, neg bool, args []string) {
	d := running(ts)
	code, err := d.end(signalOf(ts, args))
	fmt.Fprint(ts.Stdout(), d.output())
	fmt.Fprint(ts.Stderr(), d.log())
	ts.Check(err)
	if (code != 0) != neg {
		ts.Fatalf("exit code %d\n%s", code, d.log())
	}
	if strings.Contains(d.log(), "DATA RACE") {
		ts.Fatalf("%s", d.log())
	}
}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	ts.Check(running(ts).cmd.Process.Signal(signalOf(ts, args)))
}

func waitLog(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: log REGEXP")
	}
	if !neg {
		ts.Check(running(ts).waitLog(args[0]))
	} else if log := running(ts).log(); regexp.MustCompile(args[0]).MatchString(log) {
		ts.Fatalf("the log has %s:\n%s", args[0], log)
	}
}

// dial connects to the daemon.
func dial(ts *testscript.TestScript, network string) net.Conn {
	d := running(ts)
	address := map[string]string{"udp": d.udp, "tcp": d.tcp, "unix": d.unix, "management": d.management, "http": d.http[strings.LastIndex(d.http, "/")+1:]}[network]
	if network == "management" || network == "http" {
		network = "tcp"
	}
	if address == "" {
		ts.Fatalf("the daemon does not listen on %s", network)
	}
	conn, err := net.DialTimeout(network, address, patience)
	ts.Check(err)
	return conn
}

func send(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	if len(args) < 2 {
		ts.Fatalf("usage: send udp|tcp|unix LINE...")
	}
	conn := dial(ts, args[0])
	defer conn.Close()
	for i, line := range args[1:] { // \xff stands for a byte that is no UTF-8
		if text, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`); err == nil {
			args[1+i] = text
		}
	}
	_, err := io.WriteString(conn, strings.Join(args[1:], "\n")+"\n")
	ts.Check(err)
}

func hold(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	conn := dial(ts, args[0])
	ts.Defer(func() { conn.Close() })
}

func flood(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	conn := dial(ts, args[0])
	defer conn.Close()
	for ; n > 0; n -= 100 {
		_, err := io.WriteString(conn, strings.Repeat("flood:1|c\n", min(n, 100)))
		ts.Check(err)
	}
}

func long(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	conn := dial(ts, args[0])
	defer conn.Close()
	text := strings.Repeat("x", n-len(":1|c\n")) + ":1|c\n"
	if args[0] != "udp" {
		text = "before:1|c\n" + text + "after:1|c\n"
	}
	_, err = io.WriteString(conn, text)
	if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) { // the daemon may have had enough
		ts.Fatalf("%v", err)
	}
}

func names(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	conn := dial(ts, args[0])
	defer conn.Close()
	for i := range n {
		_, err := fmt.Fprintf(conn, "name%d:1|c\n", i)
		ts.Check(err)
	}
}

func token(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	running(ts).token = args[0]
}

func get(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: get PATH [REGEXP]")
	}
	want := regexp.MustCompile("")
	if len(args) == 2 {
		want = regexp.MustCompile(args[1])
	}
	var answer string
	err := eventually(func() error {
		code, body, err := running(ts).get(args[0])
		if err != nil {
			return err
		}
		answer = body
		if (code != http.StatusOK) != neg || !want.MatchString(body) {
			return fmt.Errorf("%s: %d\n%s", args[0], code, body)
		}
		return nil
	})
	fmt.Fprint(ts.Stdout(), answer)
	ts.Check(err)
}

func manage(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	conn := dial(ts, "management")
	defer conn.Close()
	_, err := io.WriteString(conn, strings.Join(args, " ")+"\nquit\n")
	ts.Check(err)
	answer, err := io.ReadAll(conn)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), string(answer))
}

func balanced(ts *testscript.TestScript, neg bool, _ []string) {
	refuse(ts, neg)
	ts.Check(running(ts).balanced())
}

func fill(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	for _, file := range args {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
}

// graphite is a server that writes what it gets into a file.
type graphite struct {
	listener net.Listener
	closing  chan struct{}
	tasks    sync.WaitGroup
}

func listenGraphite(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	w := of(ts)
	if len(args) == 0 {
		w.graphite.close()
		w.graphite = nil
		return
	}
	address := "127.0.0.1:0"
	if port := ts.Getenv("GRAPHITE"); port != "" {
		address = "127.0.0.1:" + port // again where it was
	}
	listener, err := net.Listen("tcp", address)
	ts.Check(err)
	g := &graphite{listener: listener, closing: make(chan struct{})}
	w.graphite = g
	path, deaf := ts.MkAbs(args[0]), args[0] == "-deaf"
	ts.Setenv("GRAPHITE", strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
	g.tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if deaf {
				g.tasks.Go(func() {
					<-g.closing
					conn.Close()
				})
				continue
			}
			content, _ := io.ReadAll(conn) // one flush, to the end of the connection; what is missing is missed by the script
			conn.Close()
			file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err == nil {
				_, _ = file.Write(content)
				_ = file.Close()
			}
		}
	})
}

func (g *graphite) close() {
	close(g.closing)
	g.listener.Close()
	g.tasks.Wait()
}

func waitLines(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg)
	path := ts.MkAbs(args[0])
	for _, expression := range args[1:] {
		want := regexp.MustCompile("(?m)^" + expression + "$")
		var content []byte
		ts.Check(eventually(func() error {
			content, _ = os.ReadFile(path) // it may not be there yet
			if !want.Match(content) {
				return fmt.Errorf("%s has no line %s:\n%s", args[0], expression, content)
			}
			return nil
		}))
	}
}
