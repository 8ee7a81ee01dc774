package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/telemetry"
)

// An installation of the size the targets are about: 100 services on each host,
// with the texts usual services have.
const (
	benchHosts    = 1000
	benchServices = 100 // of each host
)

func benchService(b testing.TB, legacy bool, host, service int) event.Event {
	return makeEvent(b, of(legacy, legacyService, pbService), "host_id", host, "service_id", service, "host_name", fmt.Sprintf("srv-web-%05d", host),
		"description", fmt.Sprintf("Disk-/var/lib/data-%d", service), "display_name", fmt.Sprintf("Disk-/var/lib/data-%d", service), "enabled", true, "active_checks", true,
		"check_command", "OS-Linux-Disk-Global-SNMP!/var/lib/data!80!90", "check_interval", 5, "retry_interval", 1, "check_period", "24x7",
		"notification_period", "24x7", "max_check_attempts", 3, "notes_url", "https://wiki.example.org/runbooks/disk", "icon_image", "ppm/operatingsystems-linux-snmp-disk.png",
		"last_check", 1700000000, "next_check", 1700000300, "last_update", 1700000000, "notification_interval", 30)
}

func benchStatus(b testing.TB, legacy bool, host, service int) event.Event {
	members := []any{"host_id", host, "service_id", service, "checked", true, "state", 0, "state_type", 1, "last_check", 1700000000, "next_check", 1700000300,
		"last_state_change", 1690000000, "last_hard_state_change", 1690000000, "last_time_ok", 1700000000, "latency", 0.125, "execution_time", 0.25,
		"check_attempt", 1, "should_be_scheduled", true, "output", "OK: Disk /var/lib/data Total: 49.09 GB Used: 23.72 GB (48.32%) Free: 25.37 GB (51.68%)",
		"perfdata", "'used'=25468321792B;0:42168954880;0:47440074240;0;52711193600 'inodes'=12.5%;;;0;100"}
	if legacy {
		members = append(members, "host_name", fmt.Sprintf("srv-web-%05d", host), "service_description", fmt.Sprintf("Disk-/var/lib/data-%d", service),
			"check_command", "OS-Linux-Disk-Global-SNMP!/var/lib/data!80!90", "check_interval", 5, "retry_interval", 1, "check_period", "24x7", "max_check_attempts", 3)
	}
	return makeEvent(b, of(legacy, legacyServiceStatus, pbServiceStatus), members...)
}

// benchCache returns a full cache, and a status of every service.
func benchCache(b testing.TB, legacy bool) (*Cache, []event.Event) {
	b.Helper()
	c := NewCache(slog.New(slog.DiscardHandler))
	var statuses []event.Event
	for host := 1; host <= benchHosts; host++ {
		c.Update(makeEvent(b, of(legacy, legacyHost, pbHost), "host_id", host, "name", fmt.Sprintf("srv-web-%05d", host), "address", "10.20.30.40",
			"alias", "Web server of the shop", "enabled", true, "check_command", "base_host_alive", "instance_id", 3))
		for service := 1; service <= benchServices; service++ {
			c.Update(benchService(b, legacy, host, service))
			statuses = append(statuses, benchStatus(b, legacy, host, service))
		}
	}
	for _, e := range statuses {
		c.Update(e)
	}
	return c, statuses
}

func bothGenerations(b *testing.B, f func(b *testing.B, legacy bool)) {
	b.Run("legacy", func(b *testing.B) { f(b, true) })
	b.Run("protobuf", func(b *testing.B) { f(b, false) })
}

// BenchmarkCacheUpdate is one service status. With 100 000 services they come in
// batches as they do from a stream, in no order; with one, what is left is the
// work without waiting for memory.
func BenchmarkCacheUpdate(b *testing.B) {
	bothGenerations(b, func(b *testing.B, legacy bool) {
		c, statuses := benchCache(b, legacy)
		const expect = 256 // as a script gets them
		run := func(name string, statuses []event.Event) {
			b.Run(name, func(b *testing.B) {
				batch := event.AppendBatch(nil, statuses)
				it := event.NewIterator(batch)
				events := make([]event.Event, 0, expect)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if i%expect == 0 {
						for events = events[:0]; len(events) < expect; events = append(events, it.Event) {
							if !it.Next() {
								it = event.NewIterator(batch)
								it.Next()
							}
						}
						c.Expect(events)
					}
					c.Update(events[i%expect])
				}
			})
		}
		run("services=1", statuses[:1])
		var order []event.Event
		for i := range statuses {
			order = append(order, statuses[i*7919%len(statuses)])
		}
		run("services=100000", order)
	})
}

func BenchmarkCacheHostname(b *testing.B) {
	c, _ := benchCache(b, false)
	b.ReportAllocs()
	id := uint64(0)
	for b.Loop() {
		if _, ok := c.Hostname(id%benchHosts + 1); !ok {
			b.Fatal("not there")
		}
		id += 7
	}
}

// BenchmarkCacheService is a service merged with its status into a record.
func BenchmarkCacheService(b *testing.B) {
	bothGenerations(b, func(b *testing.B, legacy bool) {
		c, _ := benchCache(b, legacy)
		b.ReportAllocs()
		id := uint64(0)
		for b.Loop() {
			if c.Service(id%benchHosts+1, id%benchServices+1) == nil {
				b.Fatal("not there")
			}
			id += 7
		}
	})
}

// BenchmarkCacheMemory fills a cache with 100 000 services and their statuses, and
// reports what it takes on the heap.
func BenchmarkCacheMemory(b *testing.B) {
	bothGenerations(b, func(b *testing.B, legacy bool) {
		heap := func() float64 {
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return float64(m.HeapAlloc)
		}
		var taken float64
		for b.Loop() {
			before := heap()
			c, statuses := benchCache(b, legacy)
			runtime.KeepAlive(statuses)
			statuses = nil
			taken = heap() - before
			runtime.KeepAlive(c)
		}
		b.ReportMetric(taken/1e6, "MB/100k-services")
		b.ReportMetric(0, "ns/op")
	})
}

// BenchmarkCacheSave and BenchmarkCacheLoad are a cache of 100 000 services.
func BenchmarkCacheSave(b *testing.B) {
	c, _ := benchCache(b, false)
	for b.Loop() {
		b.SetBytes(int64(len(saved(b, c))))
	}
}

func BenchmarkCacheLoad(b *testing.B) {
	c, _ := benchCache(b, false)
	stream := saved(b, c)
	b.SetBytes(int64(len(stream)))
	for b.Loop() {
		if _, err := NewCache(slog.New(slog.DiscardHandler)).Load(bytes.NewReader(stream)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePerfdata(b *testing.B) {
	f := func(name string, text []byte) {
		b.Run(name, func(b *testing.B) {
			metrics := ParsePerfdata(nil, text)
			n := len(metrics)
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				metrics = ParsePerfdata(metrics[:0], text)
			}
			if len(metrics) != n {
				b.Fatal(len(metrics))
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds()/1e6, "Mmetrics/s")
		})
	}
	f("two", []byte("'used'=25468321792B;0:42168954880;0:47440074240;0;52711193600 'inodes'=12.5%;;;0;100"))
	var many bytes.Buffer
	for i := range 50000 {
		fmt.Fprintf(&many, "'metric %d'=%d.5ms;10;20;0; ", i, i)
	}
	f("50000", many.Bytes())
}

// BenchmarkSynthesizer is one status with two metrics whose numbers are known.
func BenchmarkSynthesizer(b *testing.B) {
	bothGenerations(b, func(b *testing.B, legacy bool) {
		c, statuses := benchCache(b, legacy)
		s := openSynthesizer(b, filepath.Join(b.TempDir(), "numbers"), c)
		const batch = 500
		var all []event.Event
		run := func(i int) {
			var err error
			if all, err = s.Append(all[:0], statuses[i:i+batch]); err != nil {
				b.Fatal(err)
			}
		}
		for i := 0; i < len(statuses); i += batch {
			run(i)
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			run(i)
			i = (i + batch) % len(statuses)
		}
		b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds()/1e6, "Mstatuses/s")
	})
}

// BenchmarkPoints is one status with two metrics.
func BenchmarkPoints(b *testing.B) {
	bothGenerations(b, func(b *testing.B, legacy bool) {
		c, statuses := benchCache(b, legacy)
		p := NewPoints(c, 60, telemetry.NewRegistry())
		const batch = 500
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if got := len(p.Of(statuses[i : i+batch])); got != 3*batch {
				b.Fatal(got)
			}
			i = (i + batch) % len(statuses)
		}
		b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds()/1e6, "Mstatuses/s")
	})
}
