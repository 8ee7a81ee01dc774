package statsd

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/telemetry"
)

// sourced is an aggregator with shards, and their lanes for an address that may make two names.
func sourced(shards int, change func(*Config), log *bytes.Buffer) (*Aggregator, []Lane, *telemetry.Registry) {
	cfg, reg := config(), telemetry.NewRegistry()
	if change != nil {
		change(&cfg)
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	a := newAggregator(cfg, shards, reg, logger)
	var lanes []Lane
	for _, s := range a.shards {
		lanes = append(lanes, s)
	}
	return a, newIntake(lanes, "statsd", reg, logger).lanesOf(Listen{Network: "udp", Address: ":8125", MaxNames: 2}), reg
}

// What is over the budget of a source goes to its buckets, nothing is lost, and other sources do not notice.
func TestSourceNames(t *testing.T) {
	var log bytes.Buffer
	a, lanes, reg := sourced(1, func(cfg *Config) { cfg.MaxTagSets = 1 }, &log)
	feed := func(lane Lane, lines ...string) { lane.Take([][]byte{[]byte(strings.Join(lines, "\n"))}) }
	feed(a.shards[0], "theirs:1|c")
	feed(lanes[0], "a:1|c", "theirs:1|c", "b;i=1:1|c", "c:2|c", "d:4|c", "a:8|c", "e:5|ms", "f:x|s", "g:7|g", "b;i=2:16|c")
	feed(a.shards[0], "c:1|c", "h:1|c")
	feed(lanes[0], "c:32|c")
	want := "c theirs=2/2; c a=9/9; c b;i=1=1/1; c overflow;source=udp--8125=6/6; c b;overflow=true=16/16; c c=33/33; c h=1/1; " +
		"ms overflow;source=udp--8125=[5]*1; g overflow;source=udp--8125=7; s overflow;source=udp--8125=x"
	if got := own(render(a.flush(1000))); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if account := a.ledger.Snapshot(); account.Lost() != 0 || !account.Balanced() {
		t.Errorf("ledger %+v", account)
	}
	spent := []telemetry.Spent{
		{Component: "statsd.values", Budget: "source_names", Items: 5, Offenders: []telemetry.Offender{{Name: "udp://:8125", Items: 5}}},
		{Component: "statsd.values", Budget: "tag_sets", Items: 1, Offenders: []telemetry.Offender{{Name: "counter b", Items: 1}}},
	}
	if diff := cmp.Diff(spent, reg.Spent()); diff != "" {
		t.Error(diff)
	}
	if text := log.String(); strings.Count(text, "too many names") != 1 || !strings.Contains(text, "source=udp://:8125 ") || !strings.Contains(text, "name=c ") {
		t.Errorf("log: %s", text)
	}
}

// Names that are forgotten, and so is a bucket, leave room for others.
func TestSourceNamesFreeUp(t *testing.T) {
	var log bytes.Buffer
	a, lanes, _ := sourced(1, func(cfg *Config) { cfg.DeleteCounters = true }, &log)
	check := func(packet, want string) {
		t.Helper()
		lanes[0].Take([][]byte{[]byte(packet)})
		if got := own(render(a.flush(1000))); got != want {
			t.Errorf("%q:\n got %s\nwant %s", packet, got, want)
		}
	}
	check("a:1|c\nb:1|c\nc:1|c", "c a=1/1; c b=1/1; c overflow;source=udp--8125=1/1")
	check("d:1|c", "c overflow;source=udp--8125=1/1") // a and b are forgotten at its end
	check("d:1|c\ne:1|c\nf:1|c", "c d=1/1; c e=1/1; c overflow;source=udp--8125=1/1")
	check("", "")
	if src := a.names.sources.all[0]; src.names != 0 || src.buckets != [kinds]*metric{} || src.values != 3 {
		t.Errorf("%+v", src)
	}
}

// All shards of a socket share its budget, over both kinds of lanes at once.
func TestSourceNamesOfShards(t *testing.T) {
	var log bytes.Buffer
	a, lanes, _ := sourced(2, nil, &log)
	lanes[0].Take([][]byte{[]byte("a:1|c")})
	lanes[1].Take([][]byte{[]byte("b:1|c\nc:2|c\na:4|c")})
	lanes[0].Take([][]byte{[]byte("c:8|c\nb:16|c")})
	total := 0.0
	for _, c := range a.flush(1000).Counters {
		switch c.Name {
		case "a":
			total += c.Value - 5
		case "b":
			total += c.Value - 17
		case "overflow;source=udp--8125":
			total += c.Value
		}
	}
	if total != 10 {
		t.Errorf("the bucket has %v, want 10", total)
	}
}

// Sockets of one server have budgets of their own.
func TestSourceOfServer(t *testing.T) {
	var log bytes.Buffer
	cfg := config()
	cfg.Listen = []Listen{{Network: "tcp", Address: "127.0.0.1:0", MaxNames: 1}, {Network: "tcp", Address: "127.0.0.1:0"}}
	reg := telemetry.NewRegistry()
	s := New(cfg, nil, reg, slog.New(slog.NewTextHandler(&log, nil)))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, address := range s.Addresses() {
		conn, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(strings.Repeat("x", i+1) + ".a:1|c\n" + strings.Repeat("x", i+1) + ".b:1|c\n")); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if err := s.Stop(t.Context()); err != nil { // takes in what was sent
		t.Fatal(err)
	}
	if spent := reg.Spent(); len(spent) != 1 || spent[0].Items != 1 || spent[0].Offenders[0].Name != "tcp://127.0.0.1:0" {
		t.Errorf("%+v", spent)
	}
}
