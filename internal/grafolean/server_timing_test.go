package grafolean

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/inventory"
	"github.com/weirhq/weir/internal/store"
	"github.com/weirhq/weir/internal/telemetry"
)

// timed is a Server over the embedded store, with the token of a bot.
func timed(b *testing.B) (in *inventory.Inventory, server *httptest.Server, token string) {
	b.Helper()
	dir := b.TempDir()
	log := slog.New(slog.DiscardHandler)
	registry := telemetry.NewRegistry()
	s := store.New(store.Config{Path: filepath.Join(dir, "store")}, registry, log)
	if err := s.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Stop(context.Background()) })
	in = inventory.New(inventory.Config{Path: filepath.Join(dir, "inventory.db"), Secret: "long enough for a test"}, log)
	b.Cleanup(func() { in.Close() })
	ping := "ping"
	bot, err := in.AddBot(b.Context(), &inventory.Bot{Name: "b", Protocol: &ping})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := in.AddPermission(b.Context(), bot, &inventory.Permission{}); err != nil {
		b.Fatal(err)
	}
	if token, err = in.Token(b.Context(), nil, bot); err != nil {
		b.Fatal(err)
	}
	server = httptest.NewServer(New(Config{Inventory: in, Driver: s, Registry: registry, Log: log}))
	b.Cleanup(server.Close)
	return in, server, token
}

// BenchmarkWalk is a refresh of a bot: 200 devices with 5 sensors, 1402 requests on one connection.
func BenchmarkWalk(b *testing.B) {
	in, server, token := timed(b)
	ctx := b.Context()
	account, err := in.AddAccount(ctx, "a")
	if err != nil {
		b.Fatal(err)
	}
	var polls []inventory.Poll
	for i := range 5 {
		id, err := in.AddSensor(ctx, account, &inventory.Sensor{Name: fmt.Sprint(i), Protocol: "ping", Details: []byte(`{}`)})
		if err != nil {
			b.Fatal(err)
		}
		polls = append(polls, inventory.Poll{Sensor: id})
	}
	for i := range 200 {
		_, err := in.AddEntity(ctx, account, &inventory.Entity{Name: fmt.Sprint("device ", i), EntityType: "device", Details: []byte(`{"ipv4":"192.0.2.1"}`), Protocols: map[string]inventory.Protocol{"ping": {Credential: 1, Sensors: polls}}})
		if err != nil {
			b.Fatal(err)
		}
	}
	bot, err := collector.Dial(ctx, collector.ClientConfig{URL: server.URL + "/api", Token: token})
	if err != nil {
		b.Fatal(err)
	}
	defer bot.Close()
	b.ReportAllocs()
	for b.Loop() {
		devices := 0
		for _, err := range bot.FetchJobConfigs(ctx, "ping") {
			if err != nil {
				b.Fatal(err)
			}
			devices++
		}
		if devices != 200 {
			b.Fatalf("there are %d devices", devices)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/walk")
}

// BenchmarkPost is a POST of 10 000 values, durable when it is answered.
func BenchmarkPost(b *testing.B) {
	in, server, token := timed(b)
	if _, err := in.AddAccount(b.Context(), "a"); err != nil {
		b.Fatal(err)
	}
	const n = 10_000
	items := make([]string, n)
	b.ReportAllocs()
	sent, begin := 0, int(time.Now().Unix())-20*86400
	for b.Loop() {
		b.StopTimer()
		sent++
		for i := range items {
			items[i] = fmt.Sprintf(`{"p":"entity.%d.snmp.if.in-octets.%d","t":%d,"v":"%d"}`, i/40, i%40, begin+60*sent, sent*i)
		}
		body := "[" + strings.Join(items, ",") + "]"
		b.StartTimer()
		request, err := http.NewRequest(http.MethodPut, server.URL+"/api/accounts/1/values/?b="+token, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		answer, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusNoContent {
			b.Fatal(response.Status, string(answer))
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/post")
}
