package modules

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// kafkaSettings are properties of librdkafka as the Go client knows them.
type kafkaSettings struct {
	seeds                    []string
	queue                    int64 // messages
	protocol, mechanism      string
	user, password           string
	ca, certificate, key     string
	keyPassword              string
	insecure                 bool
	plain                    []kgo.Opt // those that need no others
	batchBytes, messageBytes int32
}

// What the client can have in a batch, in bytes.
const (
	minBatch = 1 << 10
	maxBatch = 100 << 20
)

func newKafkaSettings() *kafkaSettings {
	return &kafkaSettings{queue: 100000, protocol: "plaintext", mechanism: "PLAIN", messageBytes: 1000000}
}

// list cuts a list of brokers.
func list(text string) []string {
	var items []string
	for _, item := range strings.Split(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, strings.TrimPrefix(strings.TrimPrefix(item, "PLAINTEXT://"), "SSL://"))
		}
	}
	return items
}

// set applies one property. It is not used when the client has no equivalent.
func (s *kafkaSettings) set(name, value string) (used bool, err error) {
	if !propertyNames[name] {
		return false, fmt.Errorf("there is no Kafka property %q", name)
	}
	bad := func(want string) (bool, error) {
		shown := value
		if strings.Contains(name, "password") {
			shown = "..."
		}
		return true, fmt.Errorf("invalid value %q for the Kafka property %q: %s expected", shown, name, want)
	}
	number := func(low, high int64) (int64, bool) {
		n, err := strconv.ParseInt(value, 10, 64)
		return n, err == nil && n >= low && n <= high
	}
	milliseconds := func(use func(time.Duration) kgo.Opt) (bool, error) {
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || !(f >= 0 && f <= 1<<31) {
			return bad("a number of milliseconds")
		}
		s.plain = append(s.plain, use(time.Duration(f*float64(time.Millisecond))))
		return true, nil
	}
	switch name {
	case "metadata.broker.list", "bootstrap.servers":
		s.seeds = append(s.seeds, list(value)...)
	case "security.protocol":
		s.protocol = strings.ToLower(value)
		switch s.protocol {
		case "plaintext", "ssl", "sasl_plaintext", "sasl_ssl":
		default:
			return bad("plaintext, ssl, sasl_plaintext or sasl_ssl")
		}
	case "sasl.mechanisms", "sasl.mechanism":
		s.mechanism = value
		switch value {
		case "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
		default:
			return bad("PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
		}
	case "sasl.username":
		s.user = value
	case "sasl.password":
		s.password = value
	case "ssl.ca.location":
		s.ca = value
	case "ssl.certificate.location":
		s.certificate = value
	case "ssl.key.location":
		s.key = value
	case "ssl.key.password":
		s.keyPassword = value
	case "enable.ssl.certificate.verification":
		switch value {
		case "true", "t", "1":
			s.insecure = false
		case "false", "f", "0":
			s.insecure = true
		default:
			return bad("true or false")
		}
	case "client.id":
		s.plain = append(s.plain, kgo.ClientID(value))
	case "compression.codec", "compression.type":
		if value == "inherit" { // of a topic: what the producer has
			return true, nil
		}
		codec, ok := map[string]kgo.CompressionCodec{
			"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
			"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
		}[value]
		if !ok {
			return bad("none, gzip, snappy, lz4 or zstd")
		}
		s.plain = append(s.plain, kgo.ProducerBatchCompression(codec))
	case "acks", "request.required.acks":
		switch value {
		case "all", "-1":
		case "0":
			s.plain = append(s.plain, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
		case "1":
			s.plain = append(s.plain, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
		default:
			return bad("all, -1, 0 or 1")
		}
	case "linger.ms", "queue.buffering.max.ms":
		return milliseconds(func(d time.Duration) kgo.Opt { return kgo.ProducerLinger(d) })
	case "message.timeout.ms", "delivery.timeout.ms":
		return milliseconds(func(d time.Duration) kgo.Opt {
			if d == 0 { // no limit
				return kgo.RecordDeliveryTimeout(0)
			}
			return kgo.RecordDeliveryTimeout(max(d, time.Second))
		})
	case "retries", "message.send.max.retries":
		n, ok := number(0, 1<<31-1)
		if !ok {
			return bad("a whole number")
		}
		s.plain = append(s.plain, kgo.RecordRetries(int(n)))
	case "batch.size", "message.max.bytes":
		low := map[string]int64{"batch.size": 1, "message.max.bytes": 1000}[name]
		n, ok := number(low, 1<<31-1)
		if !ok {
			return bad(fmt.Sprintf("a number of bytes from %d", low))
		}
		size := int32(min(max(n, minBatch), maxBatch))
		if name == "batch.size" {
			s.batchBytes = size
		} else {
			s.messageBytes = size
		}
	case "queue.buffering.max.messages":
		n, ok := number(0, 1<<31-1)
		if !ok {
			return bad("a whole number")
		}
		if s.queue = n; n == 0 { // no limit
			s.queue = 1<<31 - 1
		}
	default:
		return false, nil
	}
	return true, nil
}

// options gives all settings to the client.
func (s *kafkaSettings) options() ([]kgo.Opt, error) {
	bytes := s.messageBytes
	options := append([]kgo.Opt{
		kgo.SeedBrokers(s.seeds...), kgo.AllowAutoTopicCreation(), kgo.RecordDeliveryTimeout(5 * time.Minute),
		// The bound is ours: Produce must not block.
		kgo.MaxBufferedRecords(int(s.queue) + 1), kgo.ProducerBatchMaxBytes(bytes),
	}, s.plain...)
	if s.batchBytes > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(min(s.batchBytes, bytes)))
	}
	if strings.HasPrefix(s.protocol, "sasl_") {
		switch s.mechanism {
		case "PLAIN":
			options = append(options, kgo.SASL(plain.Auth{User: s.user, Pass: s.password}.AsMechanism()))
		case "SCRAM-SHA-256":
			options = append(options, kgo.SASL(scram.Auth{User: s.user, Pass: s.password}.AsSha256Mechanism()))
		case "SCRAM-SHA-512":
			options = append(options, kgo.SASL(scram.Auth{User: s.user, Pass: s.password}.AsSha512Mechanism()))
		}
	}
	if strings.HasSuffix(s.protocol, "ssl") {
		config, err := s.tls()
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.DialTLSConfig(config))
	}
	// Brokers may come later, the check wants some.
	if err := kgo.ValidateOpts(append(options[:len(options):len(options)], kgo.SeedBrokers("127.0.0.1:9092"))...); err != nil {
		return nil, fmt.Errorf("cannot use the Kafka properties: %w", err)
	}
	return options, nil
}

func (s *kafkaSettings) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.insecure}
	if s.ca != "" {
		text, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, fmt.Errorf("cannot use ssl.ca.location: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("cannot use ssl.ca.location: no certificate in %s", s.ca)
		}
	}
	if s.certificate != "" {
		key := s.key
		if key == "" {
			key = s.certificate
		}
		pair, err := loadKeyPair(s.certificate, key, s.keyPassword)
		if err != nil {
			return nil, fmt.Errorf("cannot use ssl.certificate.location and ssl.key.location: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
