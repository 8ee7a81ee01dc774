package connector

import (
	"testing"

	"github.com/weirhq/weir/internal/broker"
	"github.com/weirhq/weir/internal/event"
)

// With several installations a script gets the events of one, with its names, and
// acknowledges over the others.
func TestApart(t *testing.T) {
	const text = `
seen = {}
function init() end
function write(d)
  if d.element == 29 then seen[#seen + 1] = d.output .. "@" .. tostring(broker_cache:get_hostname(d.host_id)) end
  return true
end`
	paris, lyon := broker.InstallationNumber("paris"), broker.InstallationNumber("lyon")
	var batch []byte
	add := func(of uint32, object string) {
		e, err := event.ParseJSON([]byte(object))
		if err != nil {
			t.Fatal(err)
		}
		e.Destination = of
		batch = event.AppendBatch(batch, []event.Event{e})
	}
	host := func(of uint32, name string) {
		add(of, `{"category":1,"element":30,"host_id":1,"name":"`+name+`","enabled":true}`)
	}
	status := func(of uint32, output string) {
		add(of, `{"category":1,"element":29,"host_id":1,"service_id":2,"output":"`+output+`"}`)
	}
	host(paris, "seine")
	host(lyon, "rhone")
	for range 300 {
		status(paris, "p")
		status(lyon, "l")
	}
	f := func(version string, of uint32, want string) {
		t.Helper()
		s, r := load(t, text, func(s *Setup) { s.Apart, s.Of, s.BBDO = true, of, version })
		deliver(t, s, 1, batch)
		if got := result(t, s, "#seen .. (seen[1] or '') .. (seen[#seen] or '')"); got != want {
			t.Errorf("%s: got %v, want %v", version, got, want)
		}
		if r.last() != 602 || len(r.errors) > 0 {
			t.Errorf("%s: acknowledged %d, errors %q", version, r.last(), r.errors)
		}
	}
	f("3.0.1", paris, "300p@seinep@seine")
	f("3.0.1", lyon, "300l@rhonel@rhone")
	f("2.0.0", lyon, "0") // other elements
	f("3.0.1", broker.InstallationNumber(""), "0")
}
