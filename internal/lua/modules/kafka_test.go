package modules

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirhq/weir/internal/lua"
)

const kafkaPrelude = `
local base = "centreon-stream-connectors-lib.rdkafka."
local config, producer = require(base .. "config"), require(base .. "producer")
local topic, topic_config = require(base .. "topic"), require(base .. "topic_config")
require(base .. "librdkafka")
`

func TestKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close) // after the producers
	vm, _ := open(t, Options{Call: 20 * time.Second})
	run(t, vm, values{int64(1), int64(0)}, kafkaPrelude+`
		local cfg = config.new()
		cfg["statistics.interval.ms"] = "1000"
		cfg["compression.codec"] = "gzip"
		cfg["linger.ms"] = 5
		cfg:set_delivery_cb(function(payload, err) end)
		cfg:set_stat_cb(function() end)
		local p = producer.new(config.new(cfg), 10)
		local added = p:brokers_add(%q)
		local topic_cfg = topic_config.new()
		topic_cfg["auto.commit.enable"] = "true"
		local t = topic.new(p, "events", topic_cfg)
		p:produce(t, 1, "first", "key")
		p:produce(t, -1, "any")
		p:produce(t, -1, "")
		for i = 1, 100 do
			if p:outq_len() == 0 then break end
			p:poll(1000)
		end
		p:poll(0)
		return added, p:outq_len()`, cluster.ListenAddrs()[0])

	// Closing sends what still waits.
	closed, err := lua.New(lua.Options{Compatibility: true})
	if err != nil {
		t.Fatal(err)
	}
	m, err := Register(closed, Options{})
	if err != nil {
		t.Fatal(err)
	}
	run(t, closed, values{}, kafkaPrelude+`
		local cfg = config.new()
		cfg["bootstrap.servers"] = %q
		cfg["linger.ms"] = "30000"
		p = producer.new(cfg)
		p:produce(topic.new(p, "events", topic_config.new()), 1, "last")`, cluster.ListenAddrs()[0])
	closed.Close()
	m.Close()

	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("events"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	got := map[string]string{}
	for len(got) < 3 && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			got[string(r.Value)] = fmt.Sprintf("%d %s", r.Partition, r.Key)
		})
	}
	if got["first"] != "1 key" || got["last"] != "1 " || !strings.HasSuffix(got["any"], " ") || len(got) != 3 {
		t.Errorf("the topic has %v", got)
	}
}

func TestKafkaErrors(t *testing.T) {
	var log bytes.Buffer
	vm, _ := open(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for assignment, want := range map[string]string{
		`["security.protocol"] = "quic"`:              `invalid value "quic" for the Kafka property "security.protocol": plaintext, ssl`,
		`["sasl.mechanism"] = "GSSAPI"`:               "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 expected",
		`["acks"] = 7`:                                "all, -1, 0 or 1 expected",
		`["linger.ms"] = "soon"`:                      "a number of milliseconds expected",
		`["message.max.bytes"] = "1"`:                 "a number of bytes",
		`["retries"] = "-1"`:                          "a whole number expected",
		`["compression.type"] = "rar"`:                "none, gzip",
		`["client.id"] = {}`:                          "string expected, got table",
		`["enable.ssl.certificate.verification"] = 2`: "true or false expected",
	} {
		raises(t, vm, want, "%s local cfg = config.new() cfg%s", kafkaPrelude, assignment)
	}
	raises(t, vm, "cannot use ssl.ca.location", kafkaPrelude+`local cfg = config.new()
		cfg["security.protocol"] = "sasl_ssl"
		cfg["sasl.username"], cfg["sasl.password"], cfg["ssl.ca.location"] = "u", "p", "/nowhere"
		producer.new(cfg)`)
	raises(t, vm, "no broker", kafkaPrelude+`local p = producer.new(config.new())
		p:produce(topic.new(p, "t", topic_config.new()), -1, "x")`)
	raises(t, vm, "unknown partition -2", kafkaPrelude+`local p = producer.new(config.new())
		p:produce(topic.new(p, "t", topic_config.new()), -2, "x")`)
	raises(t, vm, "configuration expected, got nil", kafkaPrelude+`producer.new(nil)`)
	raises(t, vm, "topic name expected, got nil", kafkaPrelude+`topic.new(producer.new(config.new()), nil)`)
	raises(t, vm, "producer expected, got nil", kafkaPrelude+`topic.new(nil, "t")`)

	// Nobody listens: the queue fills, and what is lost is logged.
	raises(t, vm, "queue full, 2 messages wait", kafkaPrelude+`local cfg = config.new()
		cfg["queue.buffering.max.messages"], cfg["metadata.broker.list"], cfg["message.timeout.ms"] = 2, %q, "1000"
		cfg["socket.timeout.ms"] = "1000"
		p = producer.new(cfg)
		for i = 1, 3 do p:produce("t", -1, "x") end`, refused(t))
	run(t, vm, values{true}, `
		local n = 0
		for i = 1, 20 do
			n = n + p:poll(1000)
			if n == 2 then break end
		end
		return n == 2 and p:outq_len() == 0`)
	for _, want := range []string{"ignored\" property=socket.timeout.ms", "Kafka messages were not delivered\" messages="} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, log.String())
		}
	}
}

func TestKafkaSASL(t *testing.T) {
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"),
			kfake.EnableSASL(), kfake.Superuser(mechanism, "weir", "secret"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cluster.Close)
		var log bytes.Buffer
		vm, _ := open(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		run(t, vm, values{int64(0)}, kafkaPrelude+`
			local cfg = config.new()
			cfg["metadata.broker.list"], cfg["security.protocol"], cfg["sasl.mechanisms"] = %q, "SASL_PLAINTEXT", %q
			cfg["sasl.username"], cfg["sasl.password"] = "weir", "secret"
			local p = producer.new(cfg)
			p:produce("events", 0, "x")
			for i = 1, 10 do
				if p:poll(1000) > 0 then break end
			end
			return p:outq_len()`, cluster.ListenAddrs()[0], mechanism)
		if log.Len() > 0 {
			t.Errorf("%s: %s", mechanism, log.String())
		}
	}
}
