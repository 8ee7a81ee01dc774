package modules

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Each row is one of specification 8.5, used as the producer of kafka-events-apiv2 uses it.
func TestKafkaRows(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close) // after the producers
	address := cluster.ListenAddrs()[0]
	// send makes a producer after the lines of setup, produces one message, and gives how many are done.
	const send = kafkaPrelude + `
		local cfg = config.new()
		%s
		local p = producer.new(cfg)
		p:brokers_add("%s")
		local t = topic.new(p, "events", topic_config.new())
		p:produce(t, -1, "row")
		for i = 1, 20 do
			local n = p:poll(1000)
			if n > 0 then return n, p:outq_len() end
		end
		return 0, p:outq_len()`
	for _, row := range []struct {
		name, script string
		args         []any
		want         values
		raises       string // instead of want
		log          string // text in the log, "" for none at all
	}{
		{name: "five modules", want: values{"table", "function function function function", true},
			script: kafkaPrelude + `return type(require(base .. "librdkafka")),
				type(config.new) .. " " .. type(topic_config.new) .. " " .. type(producer.new) .. " " .. type(topic.new),
				next(require(base .. "librdkafka")) == nil`},
		{name: "config.new", want: values{"weir", "weir", nil},
			script: kafkaPrelude + `local cfg = config.new()
				cfg["client.id"] = "weir"
				local other = config.new(cfg)
				cfg["client.rack"] = "r"
				return cfg["client.id"], other["client.id"], other["client.rack"]`},
		{name: "config: unknown name", raises: `test:5: there is no Kafka property "bootstrap.server"`,
			script: kafkaPrelude[:len(kafkaPrelude)-1] + ` config.new()["bootstrap.server"] = "x"`},
		{name: "config: bad value", raises: `invalid value "1 s" for the Kafka property "linger.ms"`,
			script: kafkaPrelude + `config.new()["linger.ms"] = "1 s"`},
		{name: "config: a bad password is not shown", raises: "string expected, got table",
			script: kafkaPrelude + `config.new()["sasl.password"] = { "secret" }`},
		{name: "config: callbacks", want: values{nil}, script: kafkaPrelude + `local cfg = config.new()
				return cfg:set_delivery_cb(function() end), cfg:set_stat_cb(function() end)`},
		{name: "topic_config.new", want: values{"true", "true"}, script: kafkaPrelude + `local c = topic_config.new()
				c["auto.commit.enable"] = "true"
				return c["auto.commit.enable"], topic_config.new(c)["auto.commit.enable"]`},
		{name: "topic_config: unknown name", raises: `there is no Kafka property "auto.commit"`,
			script: kafkaPrelude + `topic_config.new()["auto.commit"] = "true"`},
		{name: "producer.new: failure", raises: "cannot use ssl.ca.location", script: kafkaPrelude + `local cfg = config.new()
				cfg["security.protocol"], cfg["ssl.ca.location"] = "ssl", "/nowhere"
				producer.new(cfg)`},
		{name: "producer.new: timeout", want: values{int64(0)}, script: kafkaPrelude + `return producer.new(config.new(), 100):outq_len()`},
		{name: "brokers_add", want: values{int64(2)}, script: kafkaPrelude + `return producer.new(config.new()):brokers_add("a:1, b:2")`},
		{name: "produce: unassigned partition", want: values{int64(1), int64(0)}, script: send, args: []any{"", address}},
		{name: "produce: empty payload without key", want: values{int64(0)},
			script: kafkaPrelude + `local p = producer.new(config.new())
				p:brokers_add("%s")
				p:produce(topic.new(p, "events", topic_config.new()), -1, "")
				return p:outq_len()`, args: []any{address}},
		{name: "produce: unknown partition", raises: "unknown partition -7",
			script: kafkaPrelude + `local p = producer.new(config.new())
				p:produce(topic.new(p, "events", topic_config.new()), -7, "x")`},
		{name: "produce: no broker", raises: "no broker, set metadata.broker.list",
			script: kafkaPrelude + `local p = producer.new(config.new())
				p:produce(topic.new(p, "events", topic_config.new()), -1, "x")`},
		{name: "produce: a number as topic", raises: "bad argument", script: kafkaPrelude + `producer.new(config.new()):produce({}, -1, "x")`},
		{name: "topic.new: failure", raises: "topic name expected, got number",
			script: kafkaPrelude + `topic.new(producer.new(config.new()), 5, topic_config.new())`},
		{name: "metadata.broker.list", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["metadata.broker.list"] = "` + address + `"`, ""}},
		{name: "bootstrap.servers", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["bootstrap.servers"] = "PLAINTEXT://` + address + `"`, ""}},
		{name: "client.id", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["client.id"] = "weir"`, address}},
		{name: "compression.codec gzip", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["compression.codec"] = "gzip"`, address}},
		{name: "compression.type zstd", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["compression.type"] = "zstd"`, address}},
		{name: "acks", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["acks"] = "all"`, address}},
		{name: "request.required.acks", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["request.required.acks"] = "1"`, address}},
		{name: "linger.ms", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["linger.ms"] = "1"`, address}},
		{name: "batch.size, message.max.bytes", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["batch.size"], cfg["message.max.bytes"] = "1", "2147483647"`, address}},
		{name: "message.timeout.ms", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["message.timeout.ms"] = "0"`, address}},
		{name: "retries", want: values{int64(1), int64(0)}, script: send, args: []any{`cfg["retries"] = "3"`, address}},
		{name: "others are logged and ignored", want: values{int64(1), int64(0)}, script: send,
			args: []any{`cfg["statistics.interval.ms"] = "1000"`, address}, log: "ignored\" property=statistics.interval.ms"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var log bytes.Buffer
			vm, _ := open(t, Options{Call: 30 * time.Second, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if row.raises != "" {
				raises(t, vm, row.raises, row.script, row.args...)
			} else {
				run(t, vm, row.want, row.script, row.args...)
			}
			if row.log == "" && log.Len() > 0 || !strings.Contains(log.String(), row.log) {
				t.Errorf("the log has %q, want %q", log.String(), row.log)
			}
		})
	}
}

// The properties of a topic that concern producers are used.
func TestKafkaTopicProperties(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close) // after the producers
	acks := make(chan int16, 10)
	cluster.ControlKey(0, func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		acks <- r.(*kmsg.ProduceRequest).Acks
		return nil, nil, false
	})
	vm, _ := open(t, Options{Call: 30 * time.Second})
	run(t, vm, values{int64(1)}, kafkaPrelude+`local p = producer.new(config.new())
		p:brokers_add("%s")
		local c = topic_config.new()
		c["request.required.acks"], c["auto.commit.enable"] = "1", "true"
		p:produce(topic.new(p, "events", c), 0, "x")
		return p:poll(20000)`, cluster.ListenAddrs()[0])
	if got := <-acks; got != 1 {
		t.Errorf("the broker was asked for %d acknowledgements, want 1", got)
	}
}

// A cluster with TLS: its certificate is verified, and scripts may have one with an encrypted key.
func TestKafkaTLS(t *testing.T) {
	authority := newAuthority(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "events"), kfake.EnableSASL(), kfake.Superuser("PLAIN", "weir", "secret"),
		kfake.TLS(&tls.Config{Certificates: []tls.Certificate{authority.issue(t, good)}, ClientAuth: tls.RequireAnyClientCert}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close) // after the producers
	f := func(name, log, setup string) {
		t.Helper()
		var text bytes.Buffer
		vm, _ := open(t, Options{Call: 30 * time.Second, Log: slog.New(slog.NewTextHandler(&text, nil))})
		run(t, vm, values{int64(1)}, kafkaPrelude+`local cfg = config.new()
			cfg["metadata.broker.list"], cfg["security.protocol"] = %q, "sasl_ssl"
			cfg["sasl.mechanisms"], cfg["sasl.username"], cfg["sasl.password"] = "PLAIN", "weir", "secret"
			cfg["ssl.certificate.location"], cfg["message.timeout.ms"] = "testdata/client.pem", "1500"
			%s
			local p = producer.new(cfg)
			p:produce(topic.new(p, "events", topic_config.new()), 0, %q)
			return p:poll(20000)`, cluster.ListenAddrs()[0], setup, name)
		if (log == "") != (text.Len() == 0) || !strings.Contains(text.String(), log) {
			t.Errorf("%s: the log has %q, want %q", name, text.String(), log)
		}
	}
	key := func(file string) string {
		return `cfg["ssl.key.location"], cfg["ssl.key.password"] = "testdata/` + file + `", "secret" `
	}
	ca := `cfg["ssl.ca.location"] = "` + authority.file + `" `
	f("PBES2", "", ca+key("key-pbes2.pem"))
	f("DES3", "", ca+key("key-des3.pem"))
	f("traditional", "", ca+key("key-traditional.pem"))
	f("not verified", "", key("key-pbes2.pem")+`cfg["enable.ssl.certificate.verification"] = "false"`)
	f("unknown authority", "Kafka messages were not delivered", key("key-pbes2.pem"))
	vm, _ := open(t, Options{})
	raises(t, vm, "key-pbes2.pem: cannot decrypt the key: wrong password or damaged file", kafkaPrelude+`local cfg = config.new()
		cfg["security.protocol"], cfg["ssl.certificate.location"] = "ssl", "testdata/client.pem"
		cfg["ssl.key.location"], cfg["ssl.key.password"] = "testdata/key-pbes2.pem", "wrong"
		producer.new(cfg)`)

	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	if n := cluster.PartitionInfo("events", 0).HighWatermark; n != 4 {
		t.Errorf("the topic has %d messages, want 4", n)
	}
}

func FuzzDecryptKey(f *testing.F) {
	for _, file := range []string{"key-pbes2.pem", "key-des3.pem", "key-traditional.pem", "client.pem"} {
		text, err := os.ReadFile("testdata/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		context.AfterFunc(ctx, func() {
			if ctx.Err() == context.DeadlineExceeded {
				panic("a key takes a minute")
			}
		})
		if out, err := decryptKey(text, []byte("secret")); err != nil && out != nil {
			t.Errorf("both a key and the error %v", err)
		}
	})
}
