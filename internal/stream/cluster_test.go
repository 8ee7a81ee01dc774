package stream

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A server elsewhere, with a user: events and positions are there after a restart of Weir.
func TestCluster(t *testing.T) {
	far, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), Username: "weir", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	far.Start()
	defer far.WaitForShutdown()
	defer far.Shutdown()
	if !far.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	cfg := Config{URL: far.ClientURL(), User: "weir", Password: "secret", Name: "events-1"}
	f := start(t, cfg)
	c := f.consumer("a")
	f.append(1, 1000)
	want(t, c, 1, 600, 100)
	ack(t, c, 600)
	f.stop()
	f = start(t, cfg)
	want(t, f.consumer("a"), 601, 1000, 1000)
	if r, err := f.Verify(bg); err != nil || r.Events != 488 && r.Events != 1000 || r.Damages != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	f.stop()

	cfg.Password = "wrong"
	err = New(cfg, f.reg, f.log).Start(bg)
	if err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("got %v", err)
	}
}
