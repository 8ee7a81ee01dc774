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
	list := make([]event.Event, 0, len(alerts))
	for _, a := range alerts {
		r := event.NewRecord(event.Lookup(logEntry))
		r.Set("ctime", event.IntValue(int64(a.Time)))
		r.Set("instance_name", event.TextValue([]byte("weir")))
		r.Set("output", event.TextValue(fmt.Appendf(nil, "ALERT: %s;%s;%d;%s;%s;%s", a.SigID, a.Status, a.Priority, a.Classification, a.Flow, a.Message)))
		list = append(list, r.Encode())
	}
	ctx, cancel := context.WithTimeout(context.Background(), alertTime)
	defer cancel()
	if err := e.stream.Append(ctx, list); err != nil {
		e.limited.Warn("alerts of monitors are not on the stream", "alerts", len(alerts), "error", err)
	}
}
