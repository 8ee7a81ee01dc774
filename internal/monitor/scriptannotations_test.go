package monitor

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// What editors are told of is there.
func TestAnnotations(t *testing.T) {
	b := mustLoad(t, `
		local function list(prefix, t) for name, f in pairs(t) do if type(f) == "function" then print(prefix .. name) end end end
		local function methods(class, object) list(class .. ":", getmetatable(object).__index) end
		TrisulPlugin = { id = { name = "x" },
			onload = function()
				list("T.", T) list("T.env.", T.env) list("T.util.", T.util) list("T.async.", T.async) list("T.async:", T.async) list("T.host:", T.host)
				methods("RE2", T.re2("x")) methods("AhoCorasick", T.ac({ "x" }))
			end,
			sg_monitor = { onnewflow = function(engine, flow) list("Engine:", engine) methods("Flow", flow) methods("FlowID", flow:flow()) end },
			alert_monitor = { alert_name_match = "", onnewalert = function(engine, a) methods("Alert", a) end },
			resource_monitor = { resource_name_match = "", onnewresource = function(engine, r) methods("Resource", r) end },
			simplecounter = { protocol_guid = "`+guidTCP+`", onpacket = function(engine, l) methods("Layer", l) methods("Packet", l:packet()) methods("Buffer", l:rawbytes()) end } }`)
	var bound Bound
	b.ask(KindBind, Bind{Instances: []Instance{{Index: 1, Type: TypeSGMonitor}, {Index: 2, Type: TypeAlertMonitor}, {Index: 3, Type: TypeResourceMonitor}, {Index: 4, Type: TypeSimpleCounter}}}, &bound)
	b.frame(KindItems, Items{Instance: 1, Event: EventNew, Flows: []Flow{{Key: someFlow}}})
	b.frame(KindItems, Items{Instance: 2, Event: EventNew, Alerts: []Alert{{}}})
	b.frame(KindItems, Items{Instance: 3, Event: EventNew, Resources: []Resource{{}}})
	var all packets
	captured(t, all.add, reset)
	b.frame(KindPackets, all.frame(4, begin))
	b.wantErrors()
	have := b.said()

	text, err := os.ReadFile("../../examples/monitors/annotations/trisul.lua")
	if err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile(`(?m)^function ([\w.]+[.:]\w+)\(`).FindAllSubmatch(text, -1)
	if len(told) < 50 {
		t.Fatalf("%d functions are annotated", len(told))
	}
	for _, m := range told {
		if name := string(m[1]); !slices.Contains(have, name) {
			t.Errorf("%s is annotated and is not there", name)
		}
	}
}
