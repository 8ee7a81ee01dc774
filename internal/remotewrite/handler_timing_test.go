package remotewrite

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries"
)

// sender is a client that sends the same series again and again, as Prometheus does:
// some hundred metrics of an instance after the other, 2000 samples a request.
type sender struct {
	requests []*prompb.WriteRequest
	random   *rand.Rand
	time     int64
	next     int
	body     []byte
}

func newSender(id int) *sender {
	s := &sender{random: rand.New(rand.NewPCG(1, uint64(id))), time: (time.Now().Unix() - 10*86_400) * 1000}
	for instance := range 10 {
		request := new(prompb.WriteRequest)
		for n := range 2000 {
			request.Timeseries = append(request.Timeseries, oneSeries([]prompb.Sample{{}},
				"__name__", fmt.Sprintf("node_metric_%d_seconds_total", n/10), "cpu", fmt.Sprint(n%10), "instance", fmt.Sprintf("host%d-%d.example.net:9100", id, instance), "job", "node", "mode", "idle"))
		}
		s.requests = append(s.requests, request)
	}
	return s
}

// prepare makes the next body; its making is not what is measured.
func (s *sender) prepare(b *testing.B) {
	if s.next == 0 {
		s.time += 15_000
	}
	request := s.requests[s.next]
	s.next = (s.next + 1) % len(s.requests)
	for i := range request.Timeseries {
		sample := &request.Timeseries[i].Samples[0]
		sample.Timestamp = s.time + int64(i)
		sample.Value += s.random.Float64() * 15
	}
	message, err := request.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	s.body = snappy.Encode(nil, message)
}

// BenchmarkWrite measures samples through HTTP into the embedded store, acknowledged
// when they are durable: as many clients as processors, in this process, with 20 000
// series each. Checkpoints and compactions are included, the making of the bodies is not.
func BenchmarkWrite(b *testing.B) {
	reg := telemetry.NewRegistry()
	log := slog.New(slog.DiscardHandler)
	s := store.New(store.Config{Path: b.TempDir()}, reg, log)
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer s.Stop(b.Context())
	server := httptest.NewServer(New(s, func(string) *timeseries.Schema { return nil }, reg, log))
	defer server.Close()
	const clients, rounds = 2, 50 // requests of a client that are made before the clock runs
	var senders [clients]*sender
	for i := range senders {
		senders[i] = newSender(i)
	}
	post := func(body []byte) {
		r, err := http.NewRequest("POST", server.URL+"/api/v1/write", bytes.NewReader(body))
		if err != nil {
			b.Error(err)
			return
		}
		r.Header.Set("Content-Type", type1)
		r.Header.Set("Content-Encoding", "snappy")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Error(err)
			return
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusNoContent {
			b.Errorf("%s", answer.Status)
		}
	}
	for _, from := range senders { // new series are another matter
		for range from.requests {
			from.prepare(b)
			post(from.body)
		}
	}
	var values atomic.Int64
	cpu := 0.0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		var bodies [clients][][]byte
		for i, from := range senders {
			for range rounds {
				from.prepare(b)
				bodies[i] = append(bodies[i], from.body)
			}
		}
		begin := cpuSeconds()
		b.StartTimer()
		done := make(chan struct{}, clients)
		for i := range senders {
			go func() {
				for _, body := range bodies[i] {
					post(body)
					values.Add(2000)
				}
				done <- struct{}{}
			}()
		}
		for range clients {
			<-done
		}
		cpu += cpuSeconds() - begin
	}
	b.ReportMetric(float64(values.Load())/b.Elapsed().Seconds()/1e6, "Mvalues/s")
	b.ReportMetric(float64(values.Load())/cpu/1e6, "Mvalues/cpu-s") // of server and clients together
}

// cpuSeconds is the processor time this process has used.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
