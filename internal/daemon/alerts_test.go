package daemon

import (
	"testing"

	"github.com/weirhq/weir/internal/event"
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
