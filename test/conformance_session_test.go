package test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/bbdo"
	"github.com/weirhq/weir/internal/event"
)

// wire is a connection of bytes.
type wire struct {
	net.Conn
	t *testing.T
}

func (tr *trial) dial() *wire {
	tr.t.Helper()
	conn, err := net.Dial("tcp", tr.bbdoAddress())
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { conn.Close() })
	return &wire{conn, tr.t}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (w *wire) send(packets ...[]byte) {
	w.t.Helper()
	if _, err := w.Write(slices.Concat(packets...)); err != nil {
		w.t.Fatal(err)
	}
}

// receives reads as many bytes as are wanted.
func (w *wire) receives(what string, want []byte) {
	w.t.Helper()
	w.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(w, got); err != nil || !bytes.Equal(got, want) {
		w.t.Fatalf("%s: got\n%x, want\n%x; %v", what, got[:n], want, err)
	}
}

// receivesNothingFor fails when something comes.
func (w *wire) receivesNothingFor(d time.Duration) {
	w.t.Helper()
	w.SetReadDeadline(time.Now().Add(d))
	if n, err := w.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatalf("%d bytes came, %v", n, err)
	}
}

func TestConformance14Session(t *testing.T) {
	t.Parallel()
	tr := conform(t, map[string]string{"all": `
function init() end
function write(d)
  note(d._type, d.host_id or d.instance_id or "-", d.element == 36 and tostring(d.actual_end_time) or d.output and #d.output or d.value or d.name or "-")
  return true
end`}, map[string]string{"bbdo": "synthesize: false, compression: false"})
	b := func(text string) []byte { return unhex(t, text) }
	// The examples of section 4.10.
	welcome := b("04da 0030 00020007 00000000 00000000 0a06080310001801120f544c5320434f4d5052455353494f4e 180322044c796f6e2a0b6c796f6e2d6d6f64756c653002")
	version200 := b("57f6 0007 00020001 00000000 00000000 0002 0000 0000 00")
	version200Both := b("088b 0016 00020001 00000000 00000000 0002 0000 0000 544c5320434f4d5052455353494f4e00")
	ack1000, legacyAck1000 := b("7375 0003 00020008 00000000 00000000 08e807"), b("8f06 0004 00020002 00000000 00000000 000003e8")
	stop, legacyStop := b("3b25 0002 00020009 00000000 00000000 0803"), b("d44f 0000 00020003 00000000 00000000")
	instance := b("8581 0036 0001000f 00000003 00000000 43656e7472656f6e20456e67696e6500 00000003 4c796f6e00 01 00001092 ffffffffffffffff 000000006553f100 32342e31302e3000")
	hostStatus := b("d1bb 0039 00010020 00000003 00000000 0801 1001 2001 2801 30ace4cfaa06 3801 40ace4cfaa06 6204444f574e 720a7274613d31322e356d73 810100000000000019 40 9801ace4cfaa06")
	metric := b("82ce 002e 00030001 00000003 00000000 000000006553f22c 0000012c 0000004d 6c6f61643100 00ed4e00 392e35303030303000 0000 00 00000001 0000000a")
	downtime := b("8f52 0025 00010024 00000003 00000000 0807 1003 1801 2a0561646d696e 3802 60ffffffffffffffffff01 70ffffffffffffffffff01")
	captured := [][]byte{b("65fe 000e 00020001 00000001 00000001 0002 0000 0000 544c5300 00000000"), b("bf93 0011 00020007 00000001 00000000 0a0408031801 1801 22074a6176614d6170")}
	answer := bbdo.AppendPackets(nil, event.Event{Type: event.MakeType(2, 7), Payload: b("0a0408031801 2a0477656972 3001")}) // 3.0.1, "weir", a broker
	ack := func(n byte) []byte {
		return bbdo.AppendPackets(nil, event.Event{Type: event.MakeType(2, 8), Payload: []byte{8, n}[:2*min(n, 1)]})
	}
	legacyAck := func(n byte) []byte {
		return bbdo.AppendPackets(nil, event.Event{Type: event.MakeType(2, 2), Payload: []byte{0, 0, 0, n}})
	}
	closed := func(w *wire) { // after exactly one acknowledgement
		t.Helper()
		w.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := w.Read(make([]byte, 100)); n > 0 {
			t.Errorf("%d bytes came after the acknowledgement of a stop, %v", n, err)
		}
		w.Close()
	}
	var want []string
	noted := func(lines ...string) { want = append(want, lines...); tr.lines("all", len(want)) }

	// What is idle comes first, because it takes 5 s, in which the others go on.
	idle := tr.dial()
	idle.send(welcome)
	idle.receives("welcome", answer)
	idle.send(hostStatus)
	sent := time.Now()
	noted("65568 1 4")

	w := tr.dial()
	w.send(welcome)
	w.receives("welcome", answer)
	w.send(hostStatus, downtime)
	noted("65568 1 4", "65572 1 -1")
	w.send(stop)
	w.receives("acknowledgement of 2", ack(2))
	closed(w)

	w = tr.dial()
	w.send(version200Both)
	w.receives("version", version200)
	w.send(instance, metric)
	noted("65580 3 Lyon", "196617 1 9.5") // in the generation of the connector
	w.send(legacyStop)
	w.receives("acknowledgement of 2", legacyAck(2))
	closed(w)

	// The acknowledgement of 1000 events, and one of none on stop.
	thousand := func(hello, answer, packet, want, end, last []byte) {
		t.Helper()
		w := tr.dial()
		w.send(hello)
		w.receives("answer", answer)
		w.send(bytes.Repeat(packet, 1000))
		w.receives("acknowledgement of 1000", want)
		w.send(end)
		w.receives("acknowledgement of none", last)
		closed(w)
	}
	thousand(welcome, answer, hostStatus, ack1000, stop, ack(0))
	noted(slices.Repeat([]string{"65568 1 4"}, 1000)...)
	thousand(version200, version200, instance, legacyAck1000, legacyStop, legacyAck(0))
	noted(slices.Repeat([]string{"65580 3 Lyon"}, 1000)...)

	for _, hello := range captured {
		w := tr.dial()
		w.send(hello, stop)
		got, err := io.ReadAll(io.LimitReader(w, int64(len(version200)+len(legacyAck(0)))))
		if err != nil || !bytes.HasPrefix(got, version200) && !bytes.HasPrefix(got, answer) {
			t.Errorf("%x is answered with %x, %v", hello, got, err)
		}
		w.Close()
	}

	// Damage in the third packet: skipped, counted, and no more than that one.
	damaged := bytes.Clone(hostStatus)
	damaged[1] ^= 1
	w = tr.dial()
	w.send(welcome)
	w.receives("welcome", answer)
	w.send(hostStatus, downtime, damaged, hostStatus, stop)
	noted("65568 1 4", "65572 1 -1", "65568 1 4")
	w.receives("acknowledgement of 3", ack(3))
	closed(w)
	tr.await(func() error {
		_, page, err := tr.get("/metrics")
		for _, line := range []string{
			fmt.Sprintf(`weir_bbdo_skipped_bytes_total{source="bbdo"} %d`, len(damaged)), `weir_bbdo_connections{source="bbdo"} 1`, `weir_received_total{component="bbdo",unit="events"} 2008`,
		} {
			if !strings.Contains(page, line+"\n") {
				err = errors.Join(err, fmt.Errorf("/metrics lacks %s: %s", line, regexp.MustCompile(`(?m)^weir_(bbdo|received).*$`).FindAllString(page, -1)))
			}
		}
		return err
	})

	// 70000 bytes of output, in two packets, of both generations.
	output := `"host_id":1,"service_id":2,"output":"` + strings.Repeat("x", 70_000) + `"`
	tr.deliver(legacy, `{"category":1,"element":23,`+output+`}`, `{"category":1,"element":24,`+output+`}`)
	tr.deliver(modern, `{"category":1,"element":27,`+output+`}`, `{"category":1,"element":29,`+output+`}`)
	noted("65563 1 70000", "65565 1 70000", "65563 1 70000", "65565 1 70000")

	// Pollers of all versions at once.
	var sessions sync.WaitGroup
	var together []*poller
	for _, version := range []bbdo.Version{bbdo.V200, bbdo.V300, bbdo.V301} {
		together = append(together, connect(t, tr.process, version))
	}
	tr.await(func() error {
		versions, err := tr.versions()
		if diff := gocmp.Diff([]string{"2.0.0", "3.0.0", "3.0.1", "3.0.1"}, versions); diff != "" || err != nil { // the idle one, too
			return fmt.Errorf("versions connected: %s %w", diff, err)
		}
		return nil
	})
	for i, session := range together {
		element := 32
		if i == 0 {
			element = 14
		}
		sessions.Go(func() {
			session.send(slices.Repeat([]string{fmt.Sprintf(`{"category":1,"element":%d,"host_id":1}`, element)}, 100)...)
			session.stop()
		})
	}
	sessions.Wait()
	noted(slices.Repeat([]string{"65568 1 0"}, 300)...)
	tr.expect("all", want...)

	if early := time.Until(sent.Add(4500 * time.Millisecond)); early > 0 {
		idle.receivesNothingFor(early)
	}
	idle.receives("acknowledgement after 5 s", ack(1))
	if took := time.Since(sent); took < 4500*time.Millisecond {
		t.Errorf("acknowledged after %v", took)
	}
	idle.send(stop)
	idle.receives("acknowledgement of none", ack(0))
	closed(idle)
	if err := tr.balanced(); err != nil {
		t.Error(err)
	}
	tr.stop()
}

// versions are those of the connected pollers, in order, as the API shows them.
func (tr *trial) versions() (versions []string, err error) {
	var answer struct {
		Sources []struct {
			Connections []bbdo.ConnectionStatus
		}
	}
	err = tr.ask("/api/v1/status", &answer)
	for _, s := range answer.Sources {
		for _, c := range s.Connections {
			versions = append(versions, c.Version)
		}
	}
	slices.Sort(versions)
	return versions, err
}
