package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/telemetry"
)

func doctorCommand() *cobra.Command {
	var where connection
	var file string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check ports, kernel buffers and drops, versions, disk, clock, and say what to change",
		Long: `Check what Weir needs from this machine: free ports, receive buffers and the packets
the kernel dropped, space and permissions of the data directory, open files, the clock,
versions. Each line is ok, warn or fail, the last two with what to change.

No running Weir is needed; when there is one it is asked too. The exit code is 1
when a check failed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			plan, err := readPlan(file)
			if err != nil {
				return err
			}
			own := where.url == "" && os.Getenv("WEIR_URL") == ""
			if own {
				where.url = plan.url
			}
			c, err := where.client()
			if err != nil {
				return err
			}
			if own && c.token == "" {
				c.token = plan.token // only the daemon it is meant for gets it
			}
			d := doctor{plan: plan, client: c, proc: "/proc"}
			findings := d.examine(cmd.Context())
			if err := writeFindings(cmd.OutOrStdout(), findings); err != nil {
				return err
			}
			if n := count(findings, fail); n > 0 {
				return failure{fmt.Errorf("%d of %d checks failed", n, len(findings))}
			}
			return nil
		},
	}
	where.register(cmd)
	registerConfig(cmd, &file)
	return cmd
}

// plan is what of a configuration can be checked from outside.
type plan struct {
	ports []port
	data  string // directory
	url   string // of the HTTP API
	token string // it wants
}

// port is something Weir listens on.
type port struct {
	use     string // "statsd"
	network string // of package net: "udp", "tcp6", "unix", ...
	address string
}

// grade is how a check went.
type grade int

const (
	ok grade = iota
	warn
	fail
)

func (g grade) String() string { return [...]string{"ok", "warn", "fail"}[g] }

// finding is one line of the report.
type finding struct {
	grade   grade
	subject string
	text    string
	change  string // what to do about it
}

func count(findings []finding, g grade) int {
	n := 0
	for _, f := range findings {
		if f.grade == g {
			n++
		}
	}
	return n
}

func writeFindings(w io.Writer, findings []finding) error {
	t := table{left: 3}
	for _, f := range findings {
		t.add(f.grade.String(), f.subject, f.text)
		if f.change != "" {
			t.add("", "", "-> "+f.change)
		}
	}
	var out bytes.Buffer
	t.write(&out, 0)
	_, err := w.Write(out.Bytes())
	return err
}

// doctor checks one machine.
type doctor struct {
	plan   plan
	client *client
	proc   string // where the proc file system is
}

func (d *doctor) examine(ctx context.Context) []finding {
	findings := []finding{d.versions(ctx), d.node(ctx)}
	findings = append(findings, d.daemon(ctx)...)
	for _, p := range d.plan.ports {
		findings = append(findings, d.port(p))
	}
	findings = append(findings, d.directory()...)
	return append(findings, d.kernel(ctx)...)
}

func (d *doctor) versions(context.Context) finding {
	text := fmt.Sprintf("weir %s, %s, %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if release, err := os.ReadFile(filepath.Join(d.proc, "sys/kernel/osrelease")); err == nil {
		text += ", kernel " + strings.TrimSpace(string(release))
	}
	return finding{ok, "versions", text, ""}
}

func (d *doctor) node(ctx context.Context) finding {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "node", "--version").Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return finding{ok, "node", "there is none; only StatsD backends written for Node need it", ""}
	case err != nil:
		return finding{warn, "node", "`node --version` fails: " + err.Error(), "StatsD backends written for Node will not start: install nodejs again"}
	}
	return finding{ok, "node", word(strings.TrimSpace(string(out))), ""}
}

// status is what the doctor wants to know of a running daemon.
type status struct {
	Version string
	Now     int64
	Ready   bool
	Reason  string
	Ledger  []struct {
		Component, Unit      string
		Received, Difference int64
		Discarded            map[string]int64
	}
	Overflow []telemetry.Spent
	Store    *struct {
		Failure string
		Series  int64
	}
}

const maxClockDifference = 2 // seconds between this machine's clock and the daemon's

// daemon asks a running Weir how it is.
func (d *doctor) daemon(ctx context.Context) []finding {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var s status
	switch err := d.client.decode(ctx, "api/v1/status", nil, &s); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return []finding{{ok, "daemon", fmt.Sprintf("none answers at %s; what follows is about a start", d.client.base.Redacted()), ""}}
	case err != nil:
		return []finding{{warn, "daemon", err.Error(), ""}}
	}
	findings := []finding{{ok, "daemon", fmt.Sprintf("weir %s at %s is ready", word(s.Version), d.client.base.Redacted()), ""}}
	if !s.Ready {
		findings[0] = finding{fail, "daemon", fmt.Sprintf("weir %s at %s is not ready: %s", word(s.Version), d.client.base.Redacted(), word(s.Reason)), "look at its log"}
	}
	if s.Store != nil && s.Store.Failure != "" {
		findings = append(findings, finding{fail, "store", "nothing can be stored now: " + word(s.Store.Failure), "free space on the disk, or look at the daemon's log"})
	}
	for _, l := range s.Ledger {
		lost := int64(0)
		for _, n := range l.Discarded {
			lost += n
		}
		if lost > 0 {
			findings = append(findings, finding{warn, "ledger", fmt.Sprintf("%s discarded %d of %d %s: %s", word(l.Component), lost, l.Received, word(l.Unit), reasons(l.Discarded)),
				"the daemon's log shows examples; /metrics has the counters"})
		}
	}
	for _, o := range s.Overflow {
		findings = append(findings, overflowing(o))
	}
	if difference := time.Now().Unix() - s.Now; difference > maxClockDifference || difference < -maxClockDifference {
		findings = append(findings, finding{warn, "clock", fmt.Sprintf("the daemon's clock is %d s behind this one", difference), "synchronise both with NTP"})
	}
	return findings
}

// overflowing says who spent a budget.
func overflowing(o telemetry.Spent) finding {
	var who []string
	for _, offender := range o.Offenders[:min(len(o.Offenders), 3)] {
		who = append(who, fmt.Sprintf("%s (%d)", word(offender.Name), offender.Items))
	}
	if more := len(o.Offenders) - len(who); more > 0 {
		who = append(who, "others")
	}
	if len(who) == 0 {
		who = append(who, "none that is still held")
	}
	f := finding{warn, "budget", fmt.Sprintf("%s put %d items in buckets because the budget %s was spent, by %s", word(o.Component), o.Items, word(o.Budget), strings.Join(who, ", ")),
		"/metrics and api/v1/status name the offenders"}
	if o.Budget == "tag_sets" {
		f.change = "find the tag whose values do not repeat and leave it out at its sender or with statsd.tag_rules, or raise statsd.max_tag_sets"
	}
	if o.Budget == "source_names" {
		f.change = "find the sender whose names do not repeat, or raise max_names of the socket in sources.statsd"
	}
	return f
}

func reasons(discarded map[string]int64) string {
	var list []string
	for reason, n := range discarded {
		if n > 0 {
			list = append(list, fmt.Sprintf("%s %d", word(reason), n))
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// readPlan is what weir run would do with a configuration file, "" for the defaults.
func readPlan(file string) (plan, error) {
	c := config.Default()
	if file != "" {
		var err error
		if c, err = config.Load(file); err != nil {
			return plan{}, err
		}
	}
	var p plan
	for _, l := range c.StatsD.Listen {
		p.ports = append(p.ports, port{"statsd", l.Network, l.Address})
	}
	if c.StatsD.Management != "" {
		p.ports = append(p.ports, port{"statsd's management console", "tcp", c.StatsD.Management})
	}
	p.ports = append(p.ports, port{"the HTTP API", "tcp", c.HTTP.Listen})
	if c.Stores() {
		p.data = c.Data
	}
	scheme := "http://"
	if c.HTTP.TLS.Cert != "" {
		scheme = "https://"
	}
	host, number, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil {
		return plan{}, fmt.Errorf("cannot use %q for http.listen: %w", c.HTTP.Listen, err)
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		host = "127.0.0.1" // it listens on all of them
	}
	p.url, p.token = scheme+net.JoinHostPort(host, number), c.HTTP.Token
	return p, nil
}
