package snmp

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/weirhq/weir/collector"
)

// BenchmarkRound polls 1000 devices of 40 OIDs once. The agents, which answer from the same process, have their
// share of the processor time.
func BenchmarkRound(b *testing.B) {
	const devices, oids = 1000, 40
	a := newAgent(b)
	a.set(uptimeOID, gosnmp.TimeTicks, uint32(4711))
	var sensors []string
	for i := range oids {
		a.set(fmt.Sprintf("1.3.9.1.%d", i+1), gosnmp.Counter64, uint64(i))
		sensors = append(sensors, details(fmt.Sprintf("get:1.3.9.1.%d", i+1), "$1 * 8", fmt.Sprintf("v%d", i)))
	}
	s := New(Config{})
	var polls []*poll
	for i := range devices {
		config := deviceAt(a.port, "snmpv2c", "", sensors...)
		config.EntityID = int64(i + 1)
		polls = append(polls, newPoll(config))
	}
	begin := processorTime(b)
	for b.Loop() {
		var workers sync.WaitGroup
		work := make(chan *poll)
		for range 50 {
			workers.Go(func() {
				for p := range work {
					if err := s.fetch(b.Context(), p, &sink{}, collector.Run{Affecting: []time.Duration{time.Minute}}); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for _, p := range polls {
			work <- p
		}
		close(work)
		workers.Wait()
	}
	b.ReportMetric((processorTime(b)-begin).Seconds()/float64(b.N), "cpu-s/round")
}

func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
