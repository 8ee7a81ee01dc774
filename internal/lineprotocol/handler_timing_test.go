package lineprotocol

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// agent is a client that writes the same series again and again, as Telegraf does.
type agent struct {
	body   []byte
	stamps []int // where the times of lines begin
	time   int64
	values int
}

// newAgent makes lines of so many hosts with so many fields.
func newAgent(id, hosts, fields int) *agent {
	a := &agent{time: time.Now().Unix() - 10*86_400, values: hosts * fields}
	random := rand.New(rand.NewPCG(1, uint64(id)))
	for h := range hosts {
		a.body = fmt.Appendf(a.body, "cpu,cpu=cpu-total,host=host%d-%05d.example.net,rack=r%d ", id, h, h%20)
		for f := range fields {
			if f > 0 {
				a.body = append(a.body, ',')
			}
			a.body = fmt.Appendf(a.body, "usage_%d=%s", f, strconv.FormatFloat(random.Float64()*100, 'f', 4, 64))
		}
		a.stamps = append(a.stamps, len(a.body)+1)
		a.body = append(a.body, " 1700000000\n"...)
	}
	return a
}

// next is the next batch, ten seconds after the last one.
func (a *agent) next() []byte {
	a.time += 10
	stamp := strconv.AppendInt(nil, a.time, 10)
	for _, at := range a.stamps {
		copy(a.body[at:], stamp)
	}
	return a.body
}

// BenchmarkWrite measures values through HTTP into the embedded store, acknowledged
// when they are durable: as many clients as processors, in this process, batches of some
// 5000 values, 10 000 series and more. Checkpoints and compactions are included.
func BenchmarkWrite(b *testing.B) {
	for _, fields := range []int{1, 10} {
		b.Run(fmt.Sprintf("fields=%d", fields), func(b *testing.B) {
			reg := telemetry.NewRegistry()
			log := slog.New(slog.DiscardHandler)
			s := store.New(store.Config{Path: b.TempDir()}, reg, log)
			if err := s.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			defer s.Stop(b.Context())
			h := New(s, func(string) *timeseries.Schema { return nil }, "test", reg, log)
			server := httptest.NewServer(h.V2())
			defer server.Close()
			var ids, values atomic.Int64
			write := func(a *agent) {
				answer, err := http.Post(server.URL+"/api/v2/write?precision=s", "text/plain", bytes.NewReader(a.next()))
				if err != nil {
					b.Error(err)
					return
				}
				answer.Body.Close()
				if answer.StatusCode != http.StatusNoContent {
					b.Errorf("%s", answer.Status)
				}
				values.Add(int64(a.values))
			}
			agents := make([]*agent, runtime.GOMAXPROCS(0))
			for i := range agents { // new series are another matter
				agents[i] = newAgent(i, 5000/fields, fields)
				write(agents[i])
			}
			values.Store(0)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuSeconds()
			b.RunParallel(func(pb *testing.PB) {
				a := agents[ids.Add(1)-1]
				for pb.Next() {
					write(a)
				}
			})
			b.ReportMetric(float64(values.Load())/b.Elapsed().Seconds()/1e6, "Mvalues/s")
			b.ReportMetric(float64(values.Load())/(cpuSeconds()-cpu)/1e6, "Mvalues/cpu-s") // of server and clients together
		})
	}
}

// cpuSeconds is the processor time this process has used.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
