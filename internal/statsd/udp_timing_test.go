package statsd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/weirhq/weir/internal/telemetry"
)

// senderVariable makes a process of the test binary a sender of UDP packets:
// "address packets". A sender of its own is what leaves its processor time out
// of the receiver's.
const senderVariable = "WEIR_TEST_UDP_SENDER"

func TestMain(m *testing.M) {
	if order := os.Getenv(senderVariable); order != "" {
		if err := sendPackets(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// sendPackets waits for a line on standard input, sends, and prints how many lines of StatsD it sent.
func sendPackets(order string) error {
	var address string
	var n int
	if _, err := fmt.Sscan(order, &address, &n); err != nil {
		return err
	}
	conn, err := net.Dial("udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	packets, lines := benchmarkPackets(), 0
	batch := ipv4.NewPacketConn(conn.(*net.UDPConn))
	messages := make([]ipv4.Message, 64)
	bufio.NewReader(os.Stdin).ReadString('\n')
	for sent := 0; sent < n; {
		size := min(len(messages), n-sent)
		for i := range size {
			messages[i].Buffers = [][]byte{packets[(sent+i)%len(packets)]}
		}
		written, err := batch.WriteBatch(messages[:size], 0)
		if err != nil {
			return err
		}
		for i := range written {
			for _, c := range messages[i].Buffers[0] {
				if c == '\n' {
					lines++
				}
			}
		}
		sent += written
	}
	fmt.Println(lines)
	return nil
}

// sender is a process that sends packets.
type sender struct {
	command *exec.Cmd
	start   io.WriteCloser
	output  *bufio.Reader
}

func startSender(tb testing.TB, address net.Addr, packets int) *sender {
	tb.Helper()
	s := &sender{command: exec.Command(os.Args[0])}
	s.command.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", senderVariable, address, packets))
	s.command.Stderr = os.Stderr
	var err error
	if s.start, err = s.command.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	output, err := s.command.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	s.output = bufio.NewReader(output)
	if err := s.command.Start(); err != nil {
		tb.Fatal(err)
	}
	return s
}

// run has it send and returns how many lines it sent.
func (s *sender) run(tb testing.TB) (lines int) {
	tb.Helper()
	s.start.Close()
	text, err := s.output.ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	if lines, err = strconv.Atoi(text[:len(text)-1]); err != nil {
		tb.Fatal(err)
	}
	if err := s.command.Wait(); err != nil {
		tb.Fatal(err)
	}
	return lines
}

// BenchmarkUDP receives 1400-byte packets over loopback, as fast as another
// process can send them, with a flush every second. Only the receiver's
// processor time counts.
func BenchmarkUDP(b *testing.B) {
	cfg := DefaultConfig()
	cfg.Listen = []Listen{{Network: "udp4", Address: "127.0.0.1:0"}}
	cfg.FlushInterval = time.Second
	reg := telemetry.NewRegistry()
	s := New(cfg, nil, reg, quiet)
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	sender := startSender(b, s.Addresses()[0], b.N)
	b.ResetTimer()
	cpu := cpuSeconds()
	lines := sender.run(b)
	if err := s.Stop(b.Context()); err != nil { // takes in what the sockets still hold
		b.Fatal(err)
	}
	cpu = cpuSeconds() - cpu
	packets, values := reg.Ledger("statsd.packets", "packets").Snapshot(), reg.Ledger("statsd.values", "values").Snapshot()
	b.ReportMetric(float64(values.Passed)/cpu/1e6, "Mlines/cpu-s")
	b.ReportMetric(float64(values.Passed)/b.Elapsed().Seconds()/1e6, "Mlines/s")
	b.ReportMetric(100*float64(packets.Discarded["kernel_drop"])/float64(b.N), "%dropped")
	b.ReportMetric(float64(int64(b.N)-packets.Passed-packets.Discarded["kernel_drop"]), "unexplained")
	if packets.Discarded["kernel_drop"] == 0 && values.Passed != int64(lines) {
		b.Errorf("%d lines sent, %d taken in", lines, values.Passed)
	}
}
