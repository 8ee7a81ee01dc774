package statsd

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/telemetry"
)

func TestServerListsBusyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keys")
		cfg := config()
		cfg.Readers = 2
		cfg.KeyFlush = KeyFlush{Interval: 2 * time.Second, Percent: 50, Path: path}
		s := start(t, cfg, telemetry.NewRegistry())
		began := time.Now()
		// once per line, bad lines included
		s.aggregator.shards[0].Take([][]byte{[]byte("a:1|c:2|c\nb:1|c\nb\nc d:x|c\nlast:1|c")})
		s.aggregator.shards[1].Take([][]byte{[]byte("c d:1|c\nb:1|c\nfifth:1|c")})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		s.aggregator.shards[1].Take([][]byte{[]byte("a:1|c")})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		first, second := FormatDate(began.Add(2*time.Second)), FormatDate(began.Add(4*time.Second))
		want := []string{first + " count=3 key=b", first + " count=2 key=c_d", first + " count=1 key=a", second + " count=1 key=a", ""}
		if difference := cmp.Diff(want, strings.Split(string(text), "\n")); difference != "" {
			t.Error(difference)
		}
	})
}

func TestKeyCountsAreBounded(t *testing.T) {
	k := keyCounts{limit: 2}
	for _, key := range []string{"a", "b", "c", "a"} {
		k.add([]byte(key))
	}
	if !slices.Equal(k.keys, []string{"a", "b"}) || *k.counts["a"] != 2 {
		t.Errorf("%+v", k)
	}
}

func TestServerLogsEveryLine(t *testing.T) {
	cfg := config()
	cfg.DumpMessages = true
	var got []string
	a := newAggregator(cfg, 1, telemetry.NewRegistry(), slog.New(&messages{&got}))
	a.shards[0].Take([][]byte{[]byte("a:1|c\n\nb\nc:1|ms")})
	if want := []string{"a:1|c", "b", `Bad line: 1 in msg "b"`, "c:1|ms"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := render(a.flush(1000)), "c statsd.bad_lines_seen=1/1; c statsd.packets_received=1/1; c statsd.metrics_received=3/3; c a=1/1; ms c=[1]*1"; got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}
