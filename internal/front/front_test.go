package front

import (
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/telemetry"
	"github.com/weirhq/weir/timeseries/memory"
)

// start is the time of the first points of the tests: that of the worked example (section 5.3).
const start = 1795310100

// open returns a Front over one driver in memory, in which it is an hour after start.
func open(t *testing.T) (*Front, *memory.Driver) {
	t.Helper()
	driver := new(memory.Driver)
	log, registry := slog.New(slog.DiscardHandler), telemetry.NewRegistry()
	drivers := NewDrivers([]Target{{Name: "memory", Driver: driver, Local: true}}, "memory", registry, log)
	f := New(NewDefinitions(nil, log), drivers, registry, log)
	f.now = func() time.Time { return time.Unix(start+3600, 0) }
	return f, driver
}

// call calls a function and compares the reply.
func call(t *testing.T, f *Front, function, arguments, want string) {
	t.Helper()
	var got, wanted any
	text := f.Call(t.Context(), function, []byte(arguments))
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatal(err, want)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("%s(%s)\n%s\n%s", function, arguments, text, diff)
	}
}

// worked appends the points of the worked example, and ten times as much of TLS.
func worked(t *testing.T, f *Front) {
	t.Helper()
	var samples []Sample
	for i := range 6 {
		for protocol, factor := range map[string]float64{"DNS": 1, "TLS": 10} {
			samples = append(samples, Sample{Schema: "host:ndpi", Time: float64(start + 300*i), Values: map[string]any{
				"ifid": 1.0, "host": "10.0.0.9", "protocol": protocol, "bytes_sent": factor * float64(3000*i), "bytes_rcvd": factor * float64(6000*i)}})
		}
	}
	if refused := f.Append(t.Context(), samples); refused != nil {
		t.Fatal(refused)
	}
}

func TestCall(t *testing.T) {
	f, _ := open(t)
	worked(t, f)
	call(t, f, "queryTotal", `{"schema":"host:ndpi","tags":{"ifid":1,"host":"10.0.0.9","protocol":"DNS"},"epoch_begin":1795310100,"epoch_end":"1795311600"}`, `{"value":{"bytes_sent":15000,"bytes_rcvd":30000}}`)
}
