package script

import (
	"strings"
	"testing"
	"time"
)

// A host need not be Go: Node.js (Debian's nodejs) speaks the frames as well. While
// a call of it runs nothing answers, so it is the silence that ends an endless loop.
func TestNode(t *testing.T) {
	spec := probeSpec("parameters", Budget{Hard: 2 * time.Second, Memory: 512 << 20})
	spec.Command = []string{"node", "testdata/host.js"}
	s := supervise(t, spec, nil)
	p := next(t, s.ready)
	send(t, p, echo, "hello")
	if f := next(t, s.frames); f.Kind != echo || string(f.Payload) != "hello" {
		t.Errorf("%v", f)
	}
	if answer, err := p.Request(t.Context(), count, []byte("question")); string(answer) != "question" || err != nil {
		t.Errorf("%q, %v", answer, err)
	}
	f := func(frame, reason string) {
		t.Helper()
		send(t, p, echo, frame)
		e := next(t, s.exits)
		if !strings.Contains(e.Error(), reason) || e.Working == nil || string(e.Working.Payload) != frame {
			t.Errorf("%v, working on %v", e, e.Working)
		}
		p = next(t, s.ready)
	}
	f("throw", `script "probe" exited with code 1 at probe.lua: TypeError: x is not a function`)
	f("loop", "killed: no sign of life for more than 2s")
	if e := s.stop(); !e.Asked {
		t.Errorf("%v", e)
	}
	if !strings.Contains(s.log.String(), `msg="set up with parameters" script=probe stream=stdout`) {
		t.Errorf("what it printed is not in the log:\n%s", s.log)
	}
}
