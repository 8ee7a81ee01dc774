package influxdb

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
	"github.com/weirhq/weir/timeseries/drivertest"
)

// startInfluxd starts the server of Debian's package influxdb with its data in a
// folder of the test, and returns its address.
func startInfluxd(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	config := strings.ReplaceAll(`
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "DIR/meta"
[data]
dir = "DIR/data"
wal-dir = "DIR/wal"
[http]
bind-address = "127.0.0.1:0"
[monitor]
store-enabled = false
`, "DIR", dir)
	file := filepath.Join(dir, "influxdb.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("influxd", "-config", file)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("cannot start influxd, which make deps-test installs: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	listening := regexp.MustCompile(`msg="Listening on HTTP".* addr=([\d.:]+)`)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, stderr)
			return "http://" + m[1]
		}
	}
	t.Fatal("influxd ended")
	return ""
}

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

func open(t testing.TB, cfg Config) delivered {
	t.Helper()
	server := New(cfg)
	registry := telemetry.NewRegistry()
	d := drivers.New(drivers.Config{Name: "influxdb", Dir: t.TempDir()}, server, registry, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err := d.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop(context.Background()) })
	return delivered{d, registry.Ledger("remote.influxdb", "points")}
}

// R33: line protocol written to a real server is read back as the contract of drivers asks for.
func TestR33_Influxd(t *testing.T) {
	address := startInfluxd(t)
	n := 0
	drivertest.Run(t, func(t *testing.T) drivertest.Driver {
		n++
		d := open(t, Config{Access: delivery.Access{URL: address}, Database: fmt.Sprintf("weir %d", n)})
		t.Cleanup(func() {
			if a := d.ledger.Snapshot(); a.Discarded["rejected"] != 0 || !a.Balanced() {
				t.Errorf("%+v", a)
			}
		})
		return d
	})
}

// From Append to the real server, the queue on disk between them.
func BenchmarkInfluxd(b *testing.B) {
	d := open(b, Config{Access: delivery.Access{URL: startInfluxd(b)}, Database: "weir"})
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
