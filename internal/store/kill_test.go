package store

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

const childEnv = "WEIR_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		run := appendForever
		if os.Getenv(childEnv+"_REMOVES") != "" {
			run = removeForever
		}
		if err := run(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const killSeries = 40

// killBatch is batch number n: a point of every series, some of them late.
func killBatch(n int) []timeseries.Point {
	points := make([]timeseries.Point, killSeries)
	for i := range points {
		at := n
		if i%4 == 0 {
			at = n ^ 63 // within 64 batches, out of order
		}
		points[i] = timeseries.Point{Schema: load, Time: epoch + int64(60*at), Tags: []string{fmt.Sprint(i)}, Values: []float64{float64(at*1000 + i)}}
	}
	return points
}

// killRetention is how many batches are kept as points where old ones are deleted.
const killRetention = 720

// killStore is a store that writes blocks and tables all the time, as of batch number n.
func killStore(dir string, n *atomic.Int64, deletes bool) *Store {
	cfg := Config{Path: dir, Memory: 32 << 10, Retention: -1}
	if deletes {
		cfg.Retention = killRetention * time.Minute
	}
	s := New(cfg, telemetry.NewRegistry(), slog.New(slog.DiscardHandler))
	s.limits.memtable = 64 << 10
	s.now = func() time.Time { return time.Unix(epoch+60*n.Load(), 0) }
	return s
}

// appendForever is what the child process does: it appends batch after batch and
// says which were acknowledged, until it is killed.
func appendForever(dir string) error {
	first, _ := strconv.Atoi(os.Getenv(childEnv + "_FROM"))
	deletes := os.Getenv(childEnv+"_DELETES") != ""
	var now atomic.Int64
	now.Store(int64(first))
	s := killStore(dir, &now, deletes)
	if err := s.Start(bg); err != nil {
		return err
	}
	if deletes {
		go func() {
			for {
				if err := s.DeleteOld(bg, epoch+60*now.Load()); err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
			}
		}()
	}
	for n := first; ; n++ {
		now.Store(int64(n))
		if err := s.Append(bg, killBatch(n)); err != nil {
			return err
		}
		fmt.Println("stored", n)
	}
}

// Kill -9 at random moments: every batch that was acknowledged is there afterwards.
func TestKill(t *testing.T) { killAgainAndAgain(t, false) }

// The same while old points are deleted all the time: those that are not old are there,
// and slots tell of the others.
func TestKillWhileDeleting(t *testing.T) { killAgainAndAgain(t, true) }

func killAgainAndAgain(t *testing.T, deletes bool) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for round := range 10 {
		child := exec.Command(exe)
		child.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s_FROM=%d", childEnv, next))
		if deletes {
			child.Env = append(child.Env, childEnv+"_DELETES=1")
		}
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		left := 1 + rand.IntN(1000)
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "stored ")
			if !ok {
				t.Fatalf("round %d: %s", round, lines.Text())
			}
			n, err := strconv.Atoi(text)
			if err != nil || n != next {
				t.Fatalf("round %d: %q, want batch %d", round, lines.Text(), next)
			}
			next++
			if left--; left == 0 {
				child.Process.Kill() // lines it has written by then are read on
			}
		}
		child.Wait()
		verify(t, dir, next, round, deletes)
		if next == 0 {
			t.Fatal("nothing was acknowledged")
		}
	}
	t.Logf("%d batches acknowledged", next)
}

// verify opens the store that a killed process left and looks for the first n batches.
func verify(t *testing.T, dir string, n, round int, deletes bool) {
	t.Helper()
	var now atomic.Int64
	now.Store(int64(n))
	s := killStore(dir, &now, deletes)
	if err := s.Start(bg); err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	defer func() {
		if err := s.Stop(bg); err != nil {
			t.Error(err)
		}
	}()
	have := make([]map[int64]float64, killSeries)
	for i := range have {
		have[i] = make(map[int64]float64)
		for from := 0; from < n+64; from += 5000 {
			q := query(load, timeseries.Tags{"host": fmt.Sprint(i)}, int64(60*(from-1)), int64(60*(from+4999)))
			q.MaxPoints = 5000
			r, err := s.Query(bg, q)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range r.Series[0].Data {
				have[i][r.Start+int64(k+1)*r.Step] = v
			}
		}
	}
	for batch := range n {
		for i, p := range killBatch(batch) {
			if deletes && p.Time <= epoch+60*int64(n-killRetention) {
				continue
			}
			if got := have[i][p.Time]; got != p.Values[0] {
				t.Fatalf("round %d, batch %d of %d, series %d: got %v, want %v", round, batch, n, i, got, p.Values[0])
			}
		}
	}
	// Slots, which were made while it was killed, and made anew for late points, say the same.
	whole := n / 64 * 64                    // up to there no batch is half of a pair that is out of order
	for i := range min(killSeries, whole) { // of no batch at all there is no range either
		want := 0.0
		for at := range whole {
			want += float64(at*1000 + i)
		}
		total, err := s.Total(bg, query(load, timeseries.Tags{"host": fmt.Sprint(i)}, -1, int64(60*(whole-1))))
		if err != nil || total[load.Metrics[0]] != want {
			t.Fatalf("round %d, series %d: total %v (%v), want %v", round, i, total, err, want)
		}
	}
	if deletes && n > 4*killRetention {
		d := s.current.Load()
		d.mu.RLock()
		floor := d.schemas[load.Name].Floor
		d.mu.RUnlock()
		if floor == 0 {
			t.Fatalf("round %d: no points were deleted", round)
		}
	}
	if q := s.Stats().QuarantinedBlocks; q != 0 {
		t.Fatalf("round %d: %d records in quarantine", round, q)
	}
}

// removedSeries is more than what is removed in one go.
const removedSeries = partSize + 8

var removed = &timeseries.Schema{Name: "gone:load", Step: 60, Tags: []string{"host"}, Metrics: []string{"load"}, Type: timeseries.Gauge}

// removedBatch is batch number n of the series that are deleted.
func removedBatch(n int) []timeseries.Point {
	points := make([]timeseries.Point, removedSeries)
	for i := range points {
		points[i] = timeseries.Point{Schema: removed, Time: epoch + int64(60*n), Tags: []string{fmt.Sprint(i)}, Values: []float64{float64(n)}}
	}
	return points
}

// removeForever appends batches to series that it deletes again and again, and to one
// that stays.
func removeForever(dir string) error {
	first, _ := strconv.Atoi(os.Getenv(childEnv + "_FROM"))
	var now atomic.Int64
	s := killStore(dir, &now, false)
	now.Store(int64(first))
	if err := s.Start(bg); err != nil {
		return err
	}
	for n := first; ; n++ {
		now.Store(int64(n))
		if err := s.Append(bg, append(removedBatch(n), killBatch(n)[1])); err != nil {
			return err
		}
		fmt.Println("stored", n)
		if n%4 == 3 {
			if err := s.Delete(bg, "gone", nil); err != nil {
				return err
			}
			fmt.Println("deleted", n)
		}
	}
}

// Kill -9 while series are deleted by name: what was deleted stays so, each series is
// there as a whole or not at all, and others are not touched.
func TestKillWhileSeriesAreDeleted(t *testing.T) {
	dir := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	next, some := 0, 0
	for round := range 12 {
		child := exec.Command(exe)
		child.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s_FROM=%d", childEnv, next), childEnv+"_REMOVES=1")
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		begin, first, left := next, next, 4*rand.IntN(4)+4-next%4 // deletion begins when that many are stored
		for lines.Scan() {
			var n int
			switch text := lines.Text(); {
			case strings.HasPrefix(text, "stored "):
				if _, err := fmt.Sscanf(text, "stored %d", &n); err != nil || n != next {
					t.Fatalf("round %d: %q, want batch %d", round, text, next)
				}
				next++
				if left--; left == 0 {
					time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
					child.Process.Kill()
				}
			case strings.HasPrefix(text, "deleted "):
				first = next
			default:
				t.Fatalf("round %d: %s", round, text)
			}
		}
		child.Wait()

		var now atomic.Int64
		now.Store(int64(next))
		s := killStore(dir, &now, false)
		if err := s.Start(bg); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		listed := 0
		for tags, err := range s.List(bg, timeseries.ListQuery{Schema: removed}) {
			if errors.Is(err, timeseries.ErrNoSeries) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			listed++
			total, err := s.Total(bg, query(removed, tags, -60, int64(60*(next+1))))
			if err != nil {
				t.Fatal(err)
			}
			sum := func(from, to int) (sum float64) {
				for n := from; n < to; n++ {
					sum += float64(n)
				}
				return sum
			}
			// A batch that was not acknowledged may be there too, and may be all that is there:
			// the child went on behind a deletion whose line was not read.
			if got := total["load"]; got != sum(first, next) && got != sum(first, next+1) && got != sum(next, next+1) {
				t.Fatalf("round %d: series %v adds up to %v; batches from %d to %d are stored, those up to %d deleted", round, tags, got, begin, next-1, first-1)
			}
		}
		if listed > 0 && listed < removedSeries {
			some++
		}
		total, err := s.Total(bg, query(load, timeseries.Tags{"host": "1"}, -60, int64(60*(next-1))))
		if want := float64(next)*float64(next-1)/2*1000 + float64(next); err != nil || total["load"] != want {
			t.Fatalf("round %d: the series that stays adds up to %v (%v), want %v", round, total, err, want)
		}
		if n := s.Stats(); n.Series != int64(listed)+1 || n.QuarantinedBlocks != 0 {
			t.Fatalf("round %d: %+v, %d series are listed", round, n, listed)
		}
		if err := s.Delete(bg, "gone", nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(bg); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d batches acknowledged, %d deletions were interrupted half way", next, some)
}
