package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/event"
)

// The events are in a cluster when the configuration says so; what nobody is
// configured for there is named at the start; secrets are nowhere.
func TestStreamInCluster(t *testing.T) {
	far, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), Username: "weir", Password: "n0t-in-l0gs"})
	if err != nil {
		t.Fatal(err)
	}
	far.Start()
	defer far.WaitForShutdown()
	defer far.Shutdown()
	if !far.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	text := `
data: DIR/data
http: {listen: "127.0.0.1:0"}
statsd: {backends: [], management: {listen: ""}}
timeseries: {write: []}
log: {level: debug}
sources: {statsd: [], bbdo: [{listen: "tcp://127.0.0.1:0"}]}
stream: {url: "` + far.ClientURL() + `", name: site-1, user: weir, password_file: DIR/secret, max_size: 3MiB}
`
	configured := func(password string) *config.Config {
		if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return load(t, dir, text)
	}
	d, log := started(t, configured("n0t-in-l0gs"))
	if _, err := d.events.stream.Consumer(t.Context(), "connector.gone"); err != nil {
		t.Fatal(err)
	}
	if err := d.events.stream.Append(t.Context(), []event.Event{{Type: 65565, Payload: []byte("x")}, {Type: 65565}}); err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(far.ClientURL(), nats.UserInfo("weir", "n0t-in-l0gs"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.Stream(t.Context(), "site-1-events")
	if err != nil {
		t.Fatal(err)
	}
	if c := info.CachedInfo(); c.Config.MaxBytes != 3<<20 || c.State.Msgs != 1 {
		t.Errorf("the cluster has %+v", c)
	}
	if _, err := os.Stat(filepath.Join(dir, "data", "stream")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the server inside Weir has files, too: %v", err)
	}
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}

	d, again := started(t, configured("n0t-in-l0gs"))
	if text := again.String(); !strings.Contains(text, "weir queue rm") || !strings.Contains(text, "consumer=connector.gone events=2") {
		t.Errorf("the log does not name the queue that is not configured:\n%s", text)
	}
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}

	wrong := New(configured("als0-n0t"), slog.New(slog.NewTextHandler(log, nil)), Options{Stdout: io.Discard})
	err = wrong.Start(t.Context())
	if at := new(config.Error); !errors.As(err, &at) || at.Line != 8 {
		t.Errorf("a wrong password: %v", err)
	}
	if all := log.String() + again.String() + err.Error(); strings.Contains(all, "n0t") {
		t.Error("a password is in the log")
	}
}
