package daemon

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/monitor"
	"github.com/weirhq/weir/internal/stream"
	"github.com/weirhq/weir/internal/telemetry"
)

// TestAlertEvent: the event of an alert has what alerts puts into it.
func TestAlertEvent(t *testing.T) {
	d := event.Lookup(logEntry)
	if d == nil || d.Name != "LogEntry" {
		t.Fatalf("event %v is %+v", logEntry, d)
	}
	for _, name := range []string{"ctime", "instance_name", "output"} {
		if d.Field(name) == nil {
			t.Errorf("it has no field %q", name)
		}
	}
}

// TestMonitorEvents: alerts and resources of monitors are on the stream, for stream connectors.
func TestMonitorEvents(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	e := &events{stream: stream.New(stream.Config{Path: t.TempDir()}, telemetry.NewRegistry(), log), limited: telemetry.NewLimited(log, 0, 0)}
	if err := e.stream.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer e.stream.Stop(t.Context())
	reader, err := e.stream.Consumer(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	e.alerts([]monitor.Alert{{Time: 1700000000.5, SigID: "SIG", Status: "ALARM", Priority: 2, Classification: "class", Flow: "flow", Message: "message"}})
	e.resources([]monitor.Resource{{GUID: "{GUID}", Time: 1700000001, Flow: "flow", URI: "uri", Label: "contents"}, {GUID: "{GUID}", URI: "another"}})
	var data []byte
	for count := 0; count < 3; {
		batch, err := reader.Next(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		count += batch.Count
		data = append(data, batch.Data...)
	}
	for _, want := range []string{"ALERT: SIG;ALARM;2;class;flow;message", "RESOURCE: {GUID};flow;uri;contents", "RESOURCE: {GUID};;another;"} {
		if !bytes.Contains(data, []byte(want)) {
			t.Errorf("the stream does not have %q", want)
		}
	}
}
