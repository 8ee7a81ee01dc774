package prometheus

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/drivertest"
)

// startPrometheus starts the server of Debian's package prometheus with its data
// in a folder of the test, and returns its address. storage is its configuration.
func startPrometheus(t testing.TB, storage string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(storage), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // it cannot say which port it took
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command("prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address,
		"--web.enable-remote-write-receiver", "--web.enable-admin-api", "--log.level=info")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start prometheus, which make deps-test installs: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	var log strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		fmt.Fprintln(&log, lines.Text())
		if strings.Contains(lines.Text(), "Server is ready to receive web requests") {
			go io.Copy(io.Discard, stderr)
			return "http://" + address
		}
	}
	t.Fatalf("prometheus ended:\n%s", log.String())
	return ""
}

// takesLate makes a server take late samples.
const takesLate = "storage: {tsdb: {out_of_order_time_window: 1d}}\n"

// delivered is a driver whose points are in the server when Append returns.
type delivered struct {
	*drivers.Driver
	ledger *telemetry.Ledger
}

func (d delivered) Append(ctx context.Context, points []timeseries.Point) error {
	err := d.Driver.Append(ctx, points)
	if flushed := d.Flush(ctx); flushed != nil {
		return flushed
	}
	return err
}

func open(t testing.TB, address string) delivered {
	t.Helper()
	return openServer(t, New(Config{Access: delivery.Access{URL: address}}))
}

func openServer(t testing.TB, server *Server) delivered {
	t.Helper()
	registry := telemetry.NewRegistry()
	d := drivers.New(drivers.Config{Name: "prometheus", Dir: t.TempDir()}, server, registry, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err := d.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop(context.Background()) })
	return delivered{d, registry.Ledger("remote.prometheus", "points")}
}

// R33: points written to a real server by remote write are read back as raw samples, and
// rates, totals and rankings made of them are what the contract of drivers asks for.
func TestR33_Prometheus(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Driver {
		d := open(t, startPrometheus(t, takesLate))
		t.Cleanup(func() {
			if a := d.ledger.Snapshot(); a.Discarded["rejected"] != 0 || !a.Balanced() {
				t.Errorf("%+v", a)
			}
		})
		return d
	},
		"late and duplicate points", "samples", // a sample cannot be written again with another value
		"delete",     // where something was deleted nothing can be written again
		"packed tag", // names of labels are letters, digits and "_"
	)
}

var (
	traffic = &timeseries.Schema{Name: "host:traffic", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"sent", "rcvd"}}
	hits    = &timeseries.Schema{Name: "statsd:gauge", Step: 10, Type: timeseries.Gauge, Tags: []string{"name", "tags"}, Metrics: []string{"value"}, Packed: "tags"}
)

func point(s *timeseries.Schema, at int64, values []float64, tags ...string) timeseries.Point {
	return timeseries.Point{Schema: s, Time: drivertest.Start + at, Tags: tags, Values: values}
}

// A server that takes no late samples: they are set aside, those it has already are not, and the rest
// of their batch is stored.
func TestPrometheusOrder(t *testing.T) {
	d := open(t, startPrometheus(t, ""))
	var batch []timeseries.Point
	for i := range int64(100) {
		batch = append(batch, point(traffic, 60*i, []float64{float64(600 * i), 0}, "1", "a"))
	}
	slices.Reverse(batch[10:20]) // within a request their order does not matter
	if err := d.Append(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	again := append(batch,
		point(traffic, -3600, []float64{-1, 0}, "1", "a"), point(traffic, 60, []float64{7, 0}, "1", "a"), point(traffic, 5940, []float64{8, 0}, "1", "a"),
		point(traffic, 6000, []float64{60000, 0}, "1", "a"), point(traffic, 6000, []float64{1, 0}, "1", "b"))
	if err := d.Append(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if a := d.ledger.Snapshot(); a.Discarded["rejected"] != 3 || a.Passed != 202 || !a.Balanced() {
		t.Errorf("%+v", a)
	}
	for s, err := range d.Samples(t.Context(), timeseries.SampleQuery{Schema: traffic, Tags: timeseries.Tags{"host": "a"}, After: 0, Through: drivertest.Start + 10_000}) {
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Times) != 101 || s.Values[0][0] != 0 || s.Values[0][1] != 600 || s.Values[0][99] != 59400 || s.Values[0][100] != 60000 {
			t.Errorf("%d samples: %v %v", len(s.Times), s.Times, s.Values)
		}
	}
}

func TestPrometheusPackedTags(t *testing.T) {
	d := open(t, startPrometheus(t, takesLate))
	if err := d.Append(t.Context(), []timeseries.Point{
		point(hits, 10, []float64{1}, "hits", "dc=x;host=a"), point(hits, 10, []float64{20}, "hits", "dc=x;host=b"), point(hits, 10, []float64{300}, "hits", "dc=y"),
		point(hits, 10, []float64{4000}, "miss", ""),
	}); err != nil {
		t.Fatal(err)
	}
	q := timeseries.Query{Schema: hits, GroupBy: []string{"dc", "tags"}, Start: drivertest.Start, End: drivertest.Start + 10, Options: timeseries.DefaultOptions()}
	r, err := d.Query(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, s := range r.Series {
		got[s.Tags["dc"]+" "+s.Tags["tags"]] = s.Data[0]
	}
	if diff := cmp.Diff(map[string]float64{"x dc=x;host=a": 1, "x dc=x;host=b": 20, "y dc=y": 300, " ": 4000}, got); diff != "" {
		t.Error(diff)
	}
}

func TestPrometheusDelete(t *testing.T) {
	d := open(t, startPrometheus(t, takesLate))
	other := &timeseries.Schema{Name: "host2:traffic", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"sent"}}
	if err := d.Append(t.Context(), []timeseries.Point{
		point(traffic, 0, []float64{1, 1}, "1", "a"), point(traffic, 0, []float64{1, 1}, "1", "b"), point(other, 0, []float64{1}, "1", "a"), point(hits, 0, []float64{1}, "a", "ifid=1"),
	}); err != nil {
		t.Fatal(err)
	}
	list := func() (all []string) {
		for _, s := range []*timeseries.Schema{traffic, other, hits} {
			for tags, err := range d.List(t.Context(), timeseries.ListQuery{Schema: s, Start: 1}) {
				if err == nil {
					all = append(all, s.Name+" "+tags["host"])
				}
			}
		}
		slices.Sort(all)
		return all
	}
	if err := d.Delete(t.Context(), "host", timeseries.Tags{"host": "a"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"host2:traffic a", "host:traffic b", "statsd:gauge "}, list()); diff != "" {
		t.Error(diff)
	}
	if err := d.Delete(t.Context(), "", timeseries.Tags{"ifid": "1"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string(nil), list()); diff != "" {
		t.Error(diff)
	}
	if err := d.Delete(t.Context(), "prometheus", nil); err == nil {
		t.Error("series of Prometheus itself are deleted")
	}
}

// From Append to the real server, the queue on disk between them.
func BenchmarkPrometheus(b *testing.B) {
	d := open(b, startPrometheus(b, takesLate))
	schema := &timeseries.Schema{Name: "host:traffic", Step: 60, Tags: []string{"ifid", "host"}, Metrics: []string{"a", "b", "c"}}
	var points []timeseries.Point
	for i := range 10_000 {
		points = append(points, timeseries.Point{Schema: schema, Tags: []string{"1", fmt.Sprint("10.0.", i/256, ".", i%256)}, Values: []float64{float64(i), 2.5, 3}})
	}
	at, begin := int64(drivertest.Start), time.Now()
	for b.Loop() {
		at += 60
		for i := range points {
			points[i].Time = at
			points[i].Values[0] += float64(i % 977)
		}
		if err := d.Driver.Append(b.Context(), points); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)*30_000/time.Since(begin).Seconds(), "values/s")
}
