package modules

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirhq/weir/internal/lua"
)

const producerType = "kafka producer"

// closeTimeout bounds how long a producer that is closed waits for its messages, unless the script wants less.
const closeTimeout = 5 * time.Second

// producer is an object of the rdkafka modules. It connects at its first message, because brokers
// may be added until then.
type producer struct {
	m        *Modules
	settings *kafkaSettings
	client   *kgo.Client
	closing  time.Duration // may wait for messages

	mu        sync.Mutex // protects what deliveries touch
	delivered int        // since the last report
	failed    int
	reason    error // of the last failure
	news      chan struct{}
}

func (m *Modules) defineProducer(vm *lua.VM) error {
	method := func(f func(*producer, *lua.Call) (int, error)) lua.Function {
		return func(c *lua.Call) (int, error) {
			p, err := c.Object(1, producerType)
			if err != nil {
				return 0, err
			}
			return f(p.(*producer), c)
		}
	}
	return vm.DefineType(lua.ObjectType{
		Name: producerType,
		Methods: map[string]lua.Function{
			"brokers_add": method((*producer).addBrokers), "produce": method((*producer).produce),
			"poll": method((*producer).poll), "topic": method((*producer).topic), "outq_len": method((*producer).waiting),
		},
		Close: func(v any) { v.(*producer).close() },
	})
}

// newProducer takes a table of properties, and how many milliseconds closing may wait for messages.
func (m *Modules) newProducer(c *lua.Call) (int, error) {
	p := &producer{m: m, settings: newKafkaSettings(), closing: closeTimeout, news: make(chan struct{}, 1)}
	if err := p.apply(c, 1); err != nil {
		return 0, err
	}
	if !c.IsNil(2) {
		milliseconds, err := c.Float(2)
		if err != nil {
			return 0, err
		}
		if d := seconds(milliseconds / 1000); d >= 0 {
			p.closing = min(d, closeTimeout)
		}
	}
	if _, err := p.settings.options(); err != nil {
		return 0, err
	}
	c.Push(&lua.Object{Type: producerType, Value: p})
	return 1, nil
}

// apply sets the properties of the table that is an argument.
func (p *producer) apply(c *lua.Call, argument int) error {
	properties, err := c.Table(argument)
	if err != nil {
		return err
	}
	for _, property := range properties.Hash {
		name, _ := property.Key.(string)
		value, _ := property.Value.(string)
		used, err := p.settings.set(name, value)
		if err != nil {
			return err
		}
		if !used {
			p.m.log().Warn("Kafka property is not supported and ignored", "property", name)
		}
	}
	return nil
}

// topic takes the properties of a topic. There is one client for all topics, which has them until it connects.
func (p *producer) topic(c *lua.Call) (int, error) {
	if p.client != nil {
		p.m.log().Warn("properties of a Kafka topic are ignored: the producer has sent messages before")
		return 0, nil
	}
	return 0, p.apply(c, 2)
}

// checkProperty raises an error for a name that does not exist and a value that is impossible.
func checkProperty(c *lua.Call) (int, error) {
	name, err := c.String(1)
	if err != nil {
		return 0, err
	}
	value, err := c.String(2)
	if err != nil {
		return 0, err
	}
	_, err = newKafkaSettings().set(name, value)
	return 0, err
}

func (m *Modules) log() *slog.Logger {
	if m.options.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return m.options.Log
}

func (p *producer) addBrokers(c *lua.Call) (int, error) {
	text, err := c.String(2)
	if err != nil {
		return 0, err
	}
	seeds := list(text)
	p.settings.seeds = append(p.settings.seeds, seeds...)
	if p.client != nil {
		if err := p.client.UpdateSeedBrokers(p.settings.seeds...); err != nil {
			return 0, fmt.Errorf("cannot add the brokers %q: %w", text, err)
		}
	}
	c.PushInt(int64(len(seeds)))
	return 1, nil
}

// connect makes the client, which dials in the background.
func (p *producer) connect() error {
	if p.client != nil {
		return nil
	}
	if len(p.settings.seeds) == 0 {
		return fmt.Errorf("cannot produce: no broker, set metadata.broker.list or call brokers_add")
	}
	options, err := p.settings.options()
	if err != nil {
		return err
	}
	options = append(options, kgo.RecordPartitioner(kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int { return partition })))
	if p.client, err = kgo.NewClient(options...); err != nil {
		return fmt.Errorf("cannot produce: %w", err)
	}
	return nil
}

// partition is that of librdkafka: by the key's CRC, any one for messages without a key.
func partition(r *kgo.Record, n int) int {
	switch {
	case r.Partition >= 0:
		return int(r.Partition)
	case len(r.Key) > 0:
		return int(crc32.ChecksumIEEE(r.Key) % uint32(n))
	}
	return rand.IntN(n)
}

// produce takes topic, partition, payload and key. It does not wait for the delivery.
func (p *producer) produce(c *lua.Call) (int, error) {
	topic, err := c.String(2)
	if err != nil {
		return 0, err
	}
	number, err := c.Int(3)
	if err != nil {
		return 0, err
	}
	if number < -1 || number > 1<<31-1 {
		return 0, fmt.Errorf("cannot produce: unknown partition %d", number)
	}
	r := &kgo.Record{Topic: topic, Partition: int32(number)}
	for i, to := range []*[]byte{&r.Value, &r.Key} {
		if c.IsNil(4 + i) {
			continue
		}
		b, err := c.Bytes(4 + i)
		if err != nil {
			return 0, err
		}
		*to = append([]byte{}, b...)
	}
	if len(r.Value) == 0 && len(r.Key) == 0 {
		return 0, nil
	}
	if err := p.connect(); err != nil {
		return 0, err
	}
	if limit := p.settings.queue; p.client.BufferedProduceRecords() >= limit {
		return 0, fmt.Errorf("cannot produce: queue full, %d messages wait", limit)
	}
	p.client.Produce(context.Background(), r, p.done)
	p.report()
	return 0, nil
}

// done is called for each message that was delivered or lost, on goroutines of the client.
func (p *producer) done(_ *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delivered++
	if err != nil {
		p.delivered--
		p.failed++
		p.reason = err
	}
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// report logs what was lost and returns how many messages are done since the last report.
func (p *producer) report() int {
	p.mu.Lock()
	delivered, failed, reason := p.delivered, p.failed, p.reason
	p.delivered, p.failed, p.reason = 0, 0, nil
	p.mu.Unlock()
	if failed > 0 {
		p.m.log().Error("Kafka messages were not delivered", "messages", failed, "error", reason)
	}
	return delivered + failed
}

// poll waits up to a number of milliseconds until a message is done, and returns how many are.
func (p *producer) poll(c *lua.Call) (int, error) {
	var milliseconds float64
	if !c.IsNil(2) {
		var err error
		if milliseconds, err = c.Float(2); err != nil {
			return 0, err
		}
	}
	n := p.report()
	if n == 0 && milliseconds != 0 && p.length() > 0 {
		ctx, done := p.m.Block(seconds(milliseconds / 1000))
		select {
		case <-p.news:
		case <-ctx.Done():
		}
		done()
		n = p.report()
	}
	c.PushInt(int64(n))
	return 1, nil
}

func (p *producer) length() int64 {
	if p.client == nil {
		return 0
	}
	return p.client.BufferedProduceRecords()
}

func (p *producer) waiting(c *lua.Call) (int, error) {
	c.PushInt(p.length())
	return 1, nil
}

func (p *producer) close() {
	if p.client == nil {
		return
	}
	ctx, done := p.m.Block(p.closing)
	_ = p.client.Flush(ctx) // what is left is reported as lost
	done()
	p.client.Close()
	p.report()
}
