package statsd

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/telemetry"
)

// budgeted is an aggregator with one shard and a budget of two sets of tags.
func budgeted(change func(*Config), log *bytes.Buffer) (*Aggregator, *telemetry.Registry) {
	cfg, reg := config(), telemetry.NewRegistry()
	cfg.MaxTagSets = 2
	if change != nil {
		change(&cfg)
	}
	return newAggregator(cfg, 1, reg, slog.New(slog.NewTextHandler(log, nil))), reg
}

// own leaves out what the aggregator counts about itself.
func own(flush string) string {
	var kept []string
	for _, part := range strings.Split(flush, "; ") {
		if !strings.Contains(part, "statsd.") {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "; ")
}

// What is over the budget of a metric goes to its bucket, nothing is lost, and neither other metrics nor other kinds notice.
func TestTagSets(t *testing.T) {
	var log bytes.Buffer
	a, reg := budgeted(nil, &log)
	feed := func(lines ...string) { a.shards[0].Take([][]byte{[]byte(strings.Join(lines, "\n"))}) }
	feed("r;id=1:1|c", "r;id=2:2|c", "r;id=3:4|c", "r;id=4:8|c", "r;id=3:16|c", "r;id=1:32|c", // two fit
		"r:1|c", "other;id=1:1|c", "other;id=2:1|c", // no tags, and a metric of its own
		"r;id=3:1|ms", "r;id=4:2|ms", "r;id=5:3|ms", "r;id=6:4|ms",
		"u;id=1:x|s", "u;id=2:x|s", "u;id=3:x|s", "u;id=4:y|s", "u;id=5:x|s")
	want := "c r;id=1=33/33; c r;id=2=2/2; c r;overflow=true=28/28; c r=1/1; c other;id=1=1/1; c other;id=2=1/1; " +
		"ms r;id=3=[1]*1; ms r;id=4=[2]*1; ms r;overflow=true=[3 4]*2; s u;id=1=x; s u;id=2=x; s u;overflow=true=x,y"
	if got := own(render(a.flush(1000))); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if account := a.ledger.Snapshot(); account.Lost() != 0 || !account.Balanced() {
		t.Errorf("ledger %+v", account)
	}
	spent := []telemetry.Spent{{Component: "statsd.values", Budget: "tag_sets", Items: 8, Offenders: []telemetry.Offender{{Name: "counter r", Items: 3}, {Name: "set u", Items: 3}, {Name: "timer r", Items: 2}}}}
	if diff := cmp.Diff(spent, reg.Spent()); diff != "" {
		t.Error(diff)
	}
	if text := log.String(); strings.Count(text, "too many sets of tags") != 1 || !strings.Contains(text, "metric=r ") || !strings.Contains(text, `name="r;id=3"`) {
		t.Errorf("log: %s", text)
	}
}

// Names that are forgotten, and so is a bucket, leave room for others.
func TestTagSetsFreeUp(t *testing.T) {
	var log bytes.Buffer
	a, _ := budgeted(func(cfg *Config) { cfg.DeleteCounters = true }, &log)
	check := func(packet, want string) {
		t.Helper()
		a.shards[0].Take([][]byte{[]byte(packet)})
		if got := own(render(a.flush(1000))); got != want {
			t.Errorf("%q:\n got %s\nwant %s", packet, got, want)
		}
	}
	check("r;i=1:1|c\nr;i=2:1|c\nr;i=3:1|c", "c r;i=1=1/1; c r;i=2=1/1; c r;overflow=true=1/1")
	a.Delete(Counter, "r;i=1")
	check("r;i=4:1|c\nr;i=5:1|c\nr;i=2:1|c", "c r;i=4=1/1; c r;overflow=true=1/1; c r;i=2=1/1")
	check("", "") // they are forgotten at this flush
	if n := len(a.names.families.byName[Counter]); n != 0 {
		t.Errorf("%d families are left", n)
	}
	check("r;i=6:1|c\nr;i=7:1|c", "c r;i=6=1/1; c r;i=7=1/1")
}

// The budget is changed by a reload: what is there stays, also what came while there was none.
func TestTagSetsReload(t *testing.T) {
	var log bytes.Buffer
	a, _ := budgeted(func(cfg *Config) { cfg.MaxTagSets = 0 }, &log)
	feed := func(packet string) string {
		a.shards[0].Take([][]byte{[]byte(packet)})
		return own(render(a.flush(1000)))
	}
	if got, want := feed("r;i=1:1|c\nr;i=2:1|c\nr;i=3:1|c"), "c r;i=1=1/1; c r;i=2=1/1; c r;i=3=1/1"; got != want {
		t.Errorf("without a budget: %s", got)
	}
	cfg := config()
	cfg.MaxTagSets = 2
	a.reload(cfg)
	if got, want := feed("r;i=3:1|c\nr;i=4:1|c\nr;overflow=true:1|c"), "c r;i=1=0/0; c r;i=2=0/0; c r;i=3=1/1; c r;overflow=true=2/2"; got != want {
		t.Errorf("with one: %s", got)
	}
	cfg.MaxTagSets = 0
	a.reload(cfg)
	if got := feed("r;i=4:1|c"); !strings.Contains(got, "c r;i=4=1/1") {
		t.Errorf("without one again: %s", got)
	}
}

// With no name left, values that have a bucket go there, and those without are dropped, counted.
func TestTagSetsAndNameLimit(t *testing.T) {
	var log bytes.Buffer
	a, _ := budgeted(func(cfg *Config) { cfg.MaxNames = 8 }, &log) // with the three internal ones
	a.shards[0].Take([][]byte{[]byte("r;i=1:1|c\nr;i=2:1|c\nr;i=3:1|c\nv;i=1:1|c\nv;i=2:1|c\nv;i=3:1|c\nr;i=4:1|c")})
	if got, want := own(render(a.flush(1000))), "c r;i=1=1/1; c r;i=2=1/1; c r;overflow=true=2/2; c v;i=1=1/1; c v;i=2=1/1"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	if account := a.ledger.Snapshot(); account.Discarded["name_limit"] != 1 || !account.Balanced() {
		t.Errorf("ledger %+v", account)
	}
}

// A flood into all shards while names are deleted and flushes happen: the sum of all flushes is what was sent.
func TestTagSetsFlood(t *testing.T) {
	const rounds, each = 200, 50
	cfg, reg := config(), telemetry.NewRegistry()
	cfg.MaxTagSets, cfg.DeleteCounters = 20, true
	a := newAggregator(cfg, 4, reg, slog.New(slog.DiscardHandler))
	total := map[string]float64{}
	take := func() {
		f := a.flush(1000)
		sets := 0
		for _, c := range f.Counters {
			name, tags, tagged := strings.Cut(c.Name, ";")
			total[name] += c.Value
			if tagged && tags != "overflow=true" && name == "flood" {
				sets++
			}
		}
		if sets > cfg.MaxTagSets {
			t.Errorf("%d sets of tags in a flush", sets)
		}
	}
	var senders sync.WaitGroup
	for i, s := range a.shards {
		senders.Go(func() {
			for round := range rounds {
				var packet []byte
				for n := range each {
					packet = fmt.Appendf(packet, "flood;id=%d.%d.%d:1|c\nfine;shard=%d:1|c\n", i, round, n, i)
				}
				s.Take([][]byte{packet})
			}
		})
	}
	done := make(chan struct{})
	go func() { senders.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		take()
	}
	take()
	if want := 4.0 * rounds * each; total["flood"] != want || total["fine"] != want {
		t.Errorf("flood %v, fine %v, want %v", total["flood"], total["fine"], want)
	}
	for _, s := range reg.Spent() {
		for _, o := range s.Offenders {
			if o.Name != "counter flood" {
				t.Errorf("%s is named", o.Name)
			}
		}
	}
}

// Values over the budget cost a look-up under the lock of names and no memory.
func TestTagSetsDoNotAllocate(t *testing.T) {
	var log bytes.Buffer
	a, _ := budgeted(nil, &log)
	packets := [][]byte{[]byte("r;i=1:1|c\nr;i=2:1|c\nr;i=3:1|c\nr;i=4:1|c")}
	a.shards[0].Take(packets)
	if n := testing.AllocsPerRun(100, func() { a.shards[0].Take(packets) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
