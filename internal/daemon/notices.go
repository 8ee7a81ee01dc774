package daemon

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/internal/event"
	"github.com/weirhq/weir/internal/statsd"
)

// notices puts events and service checks of DogStatsD on the stream, as log entries, so that stream connectors get
// them. The output is "EVENT: type;priority;source;key;tags;title;text" or "CHECK: name;status;tags;message"; in what
// comes before the text of the last part, ";" is ",". host_name has the host, and of a check service_description has the
// name and status the number.
func (e *events) notices(ctx context.Context, all []statsd.Notice) error {
	list := make([]event.Event, 0, len(all))
	now := time.Now().Unix()
	for i := range all {
		n := &all[i]
		r := event.NewRecord(event.Lookup(logEntry))
		r.Set("ctime", event.IntValue(cmp.Or(n.Time, now)))
		r.Set("instance_name", event.TextValue([]byte("dogstatsd")))
		r.Set("host_name", event.TextValue([]byte(n.Host)))
		if n.Check {
			r.Set("service_description", event.TextValue([]byte(n.Title)))
			r.Set("status", event.IntValue(int64(n.Status)))
			r.Set("output", event.TextValue(parts("CHECK: ", n.Text, n.Title, strconv.Itoa(n.Status), n.Tags)))
		} else {
			r.Set("output", event.TextValue(parts("EVENT: ", n.Text, n.Type, n.Priority, n.Source, n.Key, n.Tags, n.Title)))
		}
		list = append(list, r.Encode())
	}
	if err := e.stream.Append(ctx, list); err != nil {
		return fmt.Errorf("they are not on the stream: %w", err)
	}
	return nil
}

// parts joins fields and the last one, which may hold ";".
func parts(kind, last string, fields ...string) []byte {
	b := []byte(kind)
	for _, field := range fields {
		b = append(append(b, strings.ReplaceAll(field, ";", ",")...), ';')
	}
	return append(b, last...)
}
