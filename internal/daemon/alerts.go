package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/monitor"
)

// logEntry is the event an alert becomes: category neb, element 41.
const logEntry event.Type = 1<<16 | 41

// alertTime is how long windows wait for the stream at most.
const alertTime = 2 * time.Second

// alerts puts alerts of monitors on the stream, as log entries, so that stream connectors get them. The output is
// "ALERT: sigid;status;priority;classification;flow;message".
func (e *events) alerts(alerts []monitor.Alert) {
	e.entries("alerts", len(alerts), func(i int) (float64, []byte) {
		a := &alerts[i]
		return a.Time, fmt.Appendf(nil, "ALERT: %s;%s;%d;%s;%s;%s", a.SigID, a.Status, a.Priority, a.Classification, a.Flow, a.Message)
	})
}

// resources does the same with what scripts add to resource groups. The output is "RESOURCE: group;flow;uri;contents".
func (e *events) resources(all []monitor.Resource) {
	e.entries("resources", len(all), func(i int) (float64, []byte) {
		r := &all[i]
		return r.Time, fmt.Appendf(nil, "RESOURCE: %s;%s;%s;%s", r.GUID, r.Flow, r.URI, r.Label)
	})
}

// entries puts n log entries on the stream.
func (e *events) entries(what string, n int, entry func(int) (at float64, output []byte)) {
	list := make([]event.Event, 0, n)
	for i := range n {
		at, output := entry(i)
		r := event.NewRecord(event.Lookup(logEntry))
		r.Set("ctime", event.IntValue(int64(at)))
		r.Set("instance_name", event.TextValue([]byte("weir")))
		r.Set("output", event.TextValue(output))
		list = append(list, r.Encode())
	}
	ctx, cancel := context.WithTimeout(context.Background(), alertTime)
	defer cancel()
	if err := e.stream.Append(ctx, list); err != nil {
		e.limited.Warn(what+" of monitors are not on the stream", what, n, "error", err)
	}
}
