package ping

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/icmp"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// sink keeps what is sent, a line for each value.
type sink struct {
	mu    sync.Mutex
	calls int
	lines []string
	times []time.Time
}

// SendResults implements collector.Sink.
func (s *sink) SendResults(_ context.Context, account int64, values []collector.Value) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	for _, v := range values {
		if err := collector.CheckPath(v.Path); err != nil {
			return err
		}
		value := fmt.Sprint(v.Value)
		if strings.Contains(v.Path, "rtt") {
			value = "wrong"
			if v.Value > 0 && v.Value < 5 || strings.HasSuffix(v.Path, "mdev") && v.Value >= 0 {
				value = "seconds"
			}
		}
		s.lines = append(s.lines, fmt.Sprintf("%d %s %s", account, v.Path, value))
		s.times = append(s.times, v.Time)
	}
	return nil
}

// once pings one device.
func once(t *testing.T, device *collector.JobConfig) (*sink, error) {
	t.Helper()
	device.Sensors = []collector.SensorConfig{{Interval: time.Minute, Details: []byte("{}")}}
	to, jobs := &sink{}, 0
	var err error
	for job, failed := range New().Jobs(t.Context(), bot.Fixed{device}, to) {
		if failed != nil {
			t.Fatal(failed)
		}
		jobs++
		err = job.Run(t.Context(), collector.Run{Affecting: []time.Duration{time.Minute}})
	}
	if jobs != 1 {
		t.Fatalf("there are %d jobs", jobs)
	}
	return to, err
}

func TestPing(t *testing.T) {
	answered := func(prefix string) []string {
		return []string{
			prefix + ".p0.ok 1", prefix + ".p0.rtt seconds", prefix + ".p1.ok 1", prefix + ".p1.rtt seconds",
			prefix + ".loss 0", prefix + ".rtt_min seconds", prefix + ".rtt_avg seconds", prefix + ".rtt_max seconds", prefix + ".rtt_mdev seconds", prefix + ".success 1",
		}
	}
	silent := []string{"7 entity.311.ping.p0.ok 0", "7 entity.311.ping.p1.ok 0", "7 entity.311.ping.loss 1", "7 entity.311.ping.success 0"}
	for address, want := range map[string][]string{
		"127.0.0.1":        answered("7 entity.311.ping"),
		"127.9.8.7":        answered("7 entity.311.ping"),
		"::ffff:127.0.0.1": answered("7 entity.311.ping"),
		"::1":              answered("7 entity.311.ping"),
		"localhost":        answered("7 entity.311.ping"),
		"not a name":       silent,
		"2001:db8::1":      silent, // there is no way, or nobody there
		"255.255.255.255":  silent, // for which sockets need a right of their own
	} {
		to, err := once(t, &collector.JobConfig{
			AccountID: 7, EntityID: 311, Details: fmt.Appendf(nil, `{"ipv4":%q}`, address),
			CredentialDetails: []byte(`{"n_packets":"2","sleep_packets":"0.01","timeout":"0.2","retry":"1"}`),
		})
		if err != nil || to.calls != 1 {
			t.Errorf("%s: %d calls, %v", address, to.calls, err)
		}
		if diff := cmp.Diff(want, to.lines); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", address, diff)
		}
		for _, at := range to.times {
			if at != to.times[0] || time.Since(at) > time.Minute {
				t.Errorf("%s: the times are %v", address, to.times)
			}
		}
	}
	to, err := once(t, &collector.JobConfig{Name: "127.0.0.1", Details: []byte(`{"ipv4":"127.0.0.1"}`), CredentialDetails: []byte(`{"n_packets":2,"sleep_packets":0}`)})
	if diff := cmp.Diff(answered("0 target.127%2e0%2e0%2e1.ping"), to.lines); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ details, credential, want string }{
		{`{}`, `{}`, `cannot ping gate: it has no address: ipv4 of its details must be like 192.0.2.1, 2001:db8::1 or gate.example.org`},
		{`{"ipv4":5}`, `{}`, `cannot ping gate: cannot use the details "{\"ipv4\":5}"`},
		{`{"ipv4":"127.0.0.1"}`, `{"n_packets":"0"}`, `cannot ping gate: n_packets is 0; it must be 1 to 1000`},
		{`{"ipv4":"127.0.0.1"}`, `{"n_packets":1e9}`, `cannot ping gate: n_packets is 1e+09; it must be 1 to 1000`},
		{`{"ipv4":"127.0.0.1"}`, `{"timeout":"-1"}`, `cannot ping gate: timeout is -1; it must be 0.001 to 3600`},
		{`{"ipv4":"127.0.0.1"}`, `{"timeout":"NaN"}`, `cannot ping gate: timeout is NaN; it must be 0.001 to 3600`},
		{`{"ipv4":"127.0.0.1"}`, `{"sleep_packets":"Inf"}`, `cannot ping gate: sleep_packets is +Inf; it must be 0 to 3600`},
		{`{"ipv4":"127.0.0.1"}`, `{"retry":"x"}`, `cannot ping gate: cannot use the details`},
		{`{"ipv4":"127.0.0.1"}`, `[]`, `cannot ping gate: cannot use the details`},
	} {
		to, err := once(t, &collector.JobConfig{Name: "gate", Details: []byte(c.details), CredentialDetails: []byte(c.credential)})
		if err == nil || !strings.Contains(err.Error(), c.want) || to.calls != 0 {
			t.Errorf("%s %s: %v, %d calls", c.details, c.credential, err, to.calls)
		}
	}
}

func TestFallbacks(t *testing.T) {
	want := settings{packets: 3, attempts: 1, timeout: 2 * time.Second, sleep: time.Second}
	for _, credential := range []string{"", "{}", "null", `{"n_packets":null,"other":1}`} {
		if s, err := settingsOf(&collector.JobConfig{CredentialDetails: []byte(credential)}); err != nil || s != want {
			t.Errorf("%q: %+v %v", credential, s, err)
		}
	}
}

func TestMeasure(t *testing.T) {
	s := settings{packets: 4, attempts: 1, timeout: 2 * time.Second, sleep: time.Second}
	for name, c := range map[string]struct {
		deadline, takes time.Duration
		want            packets
		after           time.Duration
		err             string
	}{
		"all":      {time.Minute, 500 * time.Millisecond, packets{{true, 500 * time.Millisecond}, {true, 500 * time.Millisecond}, {true, 500 * time.Millisecond}, {true, 500 * time.Millisecond}}, 5 * time.Second, ""},
		"none":     {time.Minute, time.Hour, packets{{}, {}, {}, {}}, 11 * time.Second, ""},
		"deadline": {7 * time.Second, time.Hour, packets{{}, {}}, 7 * time.Second, "the next run is due after 2 of 4 packets; a longer interval, fewer packets, or a shorter timeout or sleep_packets would be right"},
		"at once":  {time.Second, time.Hour, packets{}, time.Second, "the next run is due after 0 of 4 packets"},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.deadline)
			defer cancel()
			began := time.Now()
			got, err := measure(ctx, s, func() (time.Duration, bool, error) {
				select {
				case <-time.After(min(c.takes, s.timeout)):
				case <-ctx.Done():
					return 0, false, ctx.Err()
				}
				if c.takes > s.timeout {
					return 0, false, nil
				}
				return c.takes, true, nil
			})
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(packet{})); diff != "" || time.Since(began) != c.after {
				t.Errorf("%s: after %s\n%s", name, time.Since(began), diff)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// When Weir stops, what is through is kept, and the packet that was on its way is not called lost.
func TestStop(t *testing.T) {
	device := &collector.JobConfig{
		EntityID: 311, Details: []byte(`{"ipv4":"127.0.0.1"}`), CredentialDetails: []byte(`{"sleep_packets":3600}`),
		Sensors: []collector.SensorConfig{{Interval: time.Minute}},
	}
	b, to := New(), &sink{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for job := range b.Jobs(ctx, bot.Fixed{device}, to) {
		ended := make(chan error)
		go func() { ended <- job.Run(ctx, collector.Run{}) }()
		for first := false; !first; time.Sleep(time.Millisecond) {
			b.v4.mu.Lock()
			if s := b.v4.socket; s != nil {
				s.mu.Lock()
				first = s.number > 0 && len(s.waiting) == 0
				s.mu.Unlock()
			}
			b.v4.mu.Unlock()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if len(to.lines) != 0 && len(to.lines) != 8 { // the answer may be on its way to who asked
		t.Error(to.lines)
	}
	if b.v4.socket != nil || b.v4.users != 0 {
		t.Error("the socket stays open")
	}
}

func TestValues(t *testing.T) {
	at := time.Unix(1e9, 0)
	var got []string
	for _, v := range (packets{{true, 10 * time.Millisecond}, {}, {true, 30 * time.Millisecond}, {}}).values("x.", at) {
		if got = append(got, fmt.Sprintf("%s %.3g", v.Path, v.Value)); v.Time != at {
			t.Error(v.Time)
		}
	}
	want := []string{"x.p0.ok 1", "x.p0.rtt 0.01", "x.p1.ok 0", "x.p2.ok 1", "x.p2.rtt 0.03", "x.p3.ok 0",
		"x.loss 0.5", "x.rtt_min 0.01", "x.rtt_avg 0.02", "x.rtt_max 0.03", "x.rtt_mdev 0.01", "x.success 0.5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A reply counts when it comes from where the request went and has its cookie, once.
func TestSpoofedReplies(t *testing.T) {
	to := netip.MustParseAddr("192.0.2.1")
	answer := make(chan time.Duration, 4)
	s := &socket{network: ip4, waiting: make(map[uint64]waiter)}
	sent := time.Now()
	s.waiting[5] = waiter{cookie: 99, to: to, sent: sent, answer: answer}
	for _, c := range []struct {
		e    echo
		from string
		want int
	}{
		{echo{5, 98}, "192.0.2.1", 0},
		{echo{5, 99}, "192.0.2.2", 0},
		{echo{6, 99}, "192.0.2.1", 0},
		{echo{5, 99}, "192.0.2.1", 1},
		{echo{5, 99}, "192.0.2.1", 1}, // a second time
	} {
		s.deliver(c.e, netip.MustParseAddr(c.from), sent.Add(time.Second))
		if len(answer) != c.want {
			t.Errorf("%v: %d answers", c, len(answer))
		}
	}
	if took := <-answer; took != time.Second {
		t.Error(took)
	}
	s.waiting[7] = waiter{cookie: 99, to: to, sent: sent, answer: answer}
	s.forget([]uint64{7, 8})
	if s.deliver(echo{7, 99}, to, sent); len(answer) != 0 {
		t.Error("an answer that comes too late is delivered")
	}
}

// Somebody else's replies on the same machine, and what is no reply, change nothing.
func TestGarbage(t *testing.T) {
	s, err := listen(ip4)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	other, err := listen(ip4)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	home := netip.MustParseAddr("127.0.0.1")
	garbage := echo{number: 1, cookie: 2}.message(reply4, 3)
	for _, length := range []int{0, 1, 8, 20, len(garbage)} {
		_, _ = other.conn.WriteTo(garbage[:length], other.address(home)) // some the kernel refuses
	}
	for range 20 {
		if _, answered, err := s.ask(t.Context(), home, 10*time.Second, 1); !answered || err != nil {
			t.Fatal(answered, err)
		}
	}
	if _, answered, err := other.ask(t.Context(), home, 10*time.Second, 1); !answered || err != nil {
		t.Fatal(answered, err)
	}
}

// Where datagram sockets are allowed they do the same; where they are not, the error says what to do.
func TestDatagram(t *testing.T) {
	for _, of := range []struct {
		network
		home string
	}{{ip4, "127.0.0.1"}, {ip6, "::1"}} {
		conn, err := icmp.ListenPacket(of.datagram, of.any)
		if err != nil {
			if !errors.Is(err, syscall.EACCES) {
				t.Error(err)
			}
			closed := of.network
			closed.raw = "ip4:not a protocol"
			if _, err := listen(closed); err == nil || !strings.Contains(err.Error(), "net.ipv4.ping_group_range must have the group of this process") {
				t.Error(err)
			}
			continue
		}
		s := newSocket(of.network, conn, false)
		if _, answered, err := s.ask(t.Context(), netip.MustParseAddr(of.home), 10*time.Second, 1); !answered || err != nil {
			t.Error(of.home, answered, err)
		}
		s.close()
	}
}

func TestMessages(t *testing.T) {
	e := echo{number: 0x123456789, cookie: 0xfedcba9876543210}
	m := e.message(request4, 7)
	if checksum(m[:]) != 0 {
		t.Errorf("the checksum of %x is wrong", m)
	}
	if parsed, err := icmp.ParseMessage(1, m[:]); err != nil || parsed.Body.(*icmp.Echo).ID != 7 || parsed.Body.(*icmp.Echo).Seq != 0x6789 {
		t.Error(parsed, err)
	}
	if _, err := parse(reply4, m[:]); err == nil {
		t.Error("a request is a reply")
	}
	r := e.message(reply6, 7)
	if got, err := parse(reply6, append(r[:], "more"...)); err != nil || got != e {
		t.Error(got, err)
	}
	if _, err := parse(reply6, r[:messageSize-1]); err == nil {
		t.Error("half a reply is a reply")
	}
	r[7]++
	if _, err := parse(reply6, r[:]); err == nil || err.Error() != "cannot use an ICMP reply with the sequence 26506: its payload says 26505" {
		t.Error(err)
	}
}

// Requests that come all at once leave at a bounded rate.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		time.Sleep(time.Hour)
		began := time.Now()
		for i := range 10_000 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if i == paceBurst-1 && time.Since(began) != 0 {
				t.Error("the first ones wait")
			}
		}
		if took, want := time.Since(began), (10_000-paceBurst)*paceGap; took != want {
			t.Errorf("it took %s instead of %s", took, want)
		}
	})
}

func FuzzReply(f *testing.F) {
	for _, kind := range []byte{reply4, reply6, request4} {
		m := echo{number: 1 << 40, cookie: 5}.message(kind, 9)
		f.Add(m[:])
		f.Add(m[:20])
	}
	f.Fuzz(func(t *testing.T, m []byte) {
		for _, kind := range []byte{reply4, reply6} {
			e, err := parse(kind, m)
			if err != nil {
				continue
			}
			if again, err := parse(kind, m[:messageSize]); err != nil || again != e {
				t.Errorf("%v is not %v: %v", again, e, err)
			}
			back := e.message(kind, uint16(m[4])<<8|uint16(m[5]))
			if string(back[4:24]) != string(m[4:24]) {
				t.Errorf("%x becomes %x", m, back)
			}
		}
	})
}
