package countergroup

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseGUID(t *testing.T) {
	f := func(in, want, problem string) {
		t.Helper()
		got, err := ParseGUID(in)
		if got != want || (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) {
			t.Errorf("ParseGUID(%q) = %q, %v", in, got, err)
		}
	}
	f("{4cd742b1-c1ca-4708-be78-0fca2eb01a86}", "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", "")
	f("{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", "")
	f("4CD742B1-C1CA-4708-BE78-0FCA2EB01A86", "", "not in braces")
	f("{4CD742B1-C1CA-4708-BE78-0FCA2EB01A8}", "", "37 characters")
	f("{4CD742B1-C1CA-4708-BE78-0FCA2EB01A8G}", "", `'G' is not a hexadecimal digit`)
	f("{4CD742B1+C1CA-4708-BE78-0FCA2EB01A86}", "", `'+' stands where '-' is expected`)
	f("", "", "braces")
	f("{\x00}", "", `"{\x00}"`)
}

func TestRegister(t *testing.T) {
	const guid = "{00000000-0000-0000-0000-00000000000A}"
	good := Definition{GUID: guid, Title: "G", Meters: meters(Rate, Counter)}
	f := func(problem string, change func(*Definition)) {
		t.Helper()
		d := good
		change(&d)
		r := NewRegistry()
		g, err := r.Register(d)
		if problem == "" && err != nil || problem != "" && (err == nil || !strings.Contains(err.Error(), problem) || g != nil || len(r.Groups()) != 0) {
			t.Errorf("%q: got %v, %v", problem, g, err)
		}
	}
	f("", func(*Definition) {})
	f("no title", func(d *Definition) { d.Title = "" })
	f("cannot read GUID", func(d *Definition) { d.GUID = "x" })
	f("alias", func(d *Definition) { d.Aliases = []string{"{}"} })
	f("resolver", func(d *Definition) { d.Resolver = "hosts" })
	f("seconds must be greater than 0", func(d *Definition) { d.Bucket = -1 })
	f("no meters", func(d *Definition) { d.Meters = nil })
	f("two meters have the id 0", func(d *Definition) { d.Meters = []Meter{{ID: 0, Type: Rate}, {ID: 0, Type: Rate}} })
	f("1 is missing", func(d *Definition) { d.Meters = []Meter{{ID: 2, Type: Rate}, {ID: 0, Type: Rate}} })
	f("0 is missing", func(d *Definition) { d.Meters = []Meter{{ID: 1, Type: Rate}} })
	f("", func(d *Definition) { d.Meters = []Meter{{ID: 1, Type: Rate}, {ID: 0, Type: Rate}} }) // any order
	f("has the type 0", func(d *Definition) { d.Meters = meters(0) })
	f("has the type 13", func(d *Definition) { d.Meters = meters(13) })
	f("must not be negative", func(d *Definition) { d.Meters = []Meter{{Type: Rate, Top: -1}} })
	f("high water", func(d *Definition) { d.HighWater, d.LowWater = 10, 11 })
	f("no meter has a top count", func(d *Definition) { d.ToppersOnly = true })
	f("", func(d *Definition) {
		d.ToppersOnly, d.Meters = true, []Meter{{Type: Rate}, {ID: 1, Type: Rate, Top: 1}}
	})
	f("65 meters", func(d *Definition) { d.Meters = make([]Meter, 65) })
	f("", func(d *Definition) { // at least 32 meters
		d.Meters = nil
		for i := range 32 {
			d.Meters = append(d.Meters, Meter{ID: i, Type: Maximum})
		}
	})

	r := NewRegistry()
	var told []string
	r.OnRegister(func(g *Group) { told = append(told, g.Title) })
	d := good
	d.Aliases = []string{"{00000000-0000-0000-0000-00000000000b}"}
	g, err := r.Register(d)
	if err != nil || g.Bucket != 60 || g.TopperBucket != 300 {
		t.Fatalf("%+v, %v", g, err)
	}
	for _, id := range []string{guid, strings.ToLower(guid), "{00000000-0000-0000-0000-00000000000B}", "{00000000-0000-0000-0000-00000000000b}"} {
		if r.Lookup(id) != g {
			t.Errorf("Lookup(%s) does not find it", id)
		}
	}
	if r.Lookup("{00000000-0000-0000-0000-00000000000C}") != nil || r.Lookup("") != nil {
		t.Error("found what is not there")
	}
	if again, err := r.Register(good); again != g || err != nil {
		t.Errorf("the same meters again: %v, %v", again, err)
	}
	other := good
	other.Meters = meters(Rate)
	if again, err := r.Register(other); again != g || !errors.Is(err, ErrMeters) {
		t.Errorf("other meters: %v, %v", again, err)
	}
	clash := Definition{GUID: "{00000000-0000-0000-0000-00000000000C}", Title: "C", Aliases: []string{guid}, Meters: meters(Rate)}
	if _, err := r.Register(clash); err == nil {
		t.Error("an alias that is another group's GUID was taken")
	}
	lower, err := r.Register(Definition{GUID: "{00000000-0000-0000-0000-00000000000D}", Title: "g", Meters: meters(Rate)})
	if err != nil || r.ByTitle("g") != lower || r.ByTitle("G") != g || r.ByTitle("x") != nil {
		t.Error("ByTitle")
	}
	if diff := cmp.Diff([]string{"G", "g"}, told); diff != "" {
		t.Error(diff)
	}
}

// The numbers of the table of 1.3 that have no name of their own.
func TestMeterTypes(t *testing.T) {
	f := func(in, want MeterType) {
		t.Helper()
		if got := in.known(); got != want {
			t.Errorf("type %d is taken as %v, want %v", in, got, want)
		}
	}
	f(0, 0)
	f(1, Rate)
	f(3, Counter)
	f(6, Gauge)
	f(7, Gauge)
	f(13, 0)
	f(-1, 0)
	want := map[string]int{"COUNTER": 2, "RATE_COUNTER": 4, "GAUGE": 5, "RUNNING_COUNTER": 8, "AVERAGE": 9, "DELTA_RATE_COUNTER": 10, "MAXIMUM": 11, "MINIMUM": 12}
	got := make(map[string]int)
	for _, m := range MeterTypes() {
		f(m, m)
		got[m.String()] = int(m)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLabels(t *testing.T) {
	b := newBench(t, Config{}, Definition{Meters: meters(Rate)})
	g := b.group("G")
	if _, ok := g.Info("a"); ok || g.Label("a") != "a" {
		t.Error("a key has a label before one was set")
	}
	g.SetLabel("a", "Alpha", "the first")
	g.SetAttribute("a", "site", "north")
	g.SetAttribute("a", "site", "south")
	g.SetAttribute("b", "x", "y")
	want := Info{Label: "Alpha", Description: "the first", Attributes: map[string]string{"site": "south"}}
	if got, ok := g.Info("a"); !ok || cmp.Diff(want, got) != "" || g.Label("a") != "Alpha" || g.Label("b") != "b" {
		t.Errorf("%+v", got)
	}
	for i := range maxAttributes - 1 {
		if !g.SetAttribute("b", "n"+string(rune(0x100+i)), "") {
			t.Fatal("an attribute was refused too early")
		}
	}
	if g.SetAttribute("b", "one more", "") || !g.SetAttribute("b", "x", "z") {
		t.Error("the limit of attributes")
	}
}

func TestBuiltin(t *testing.T) {
	r := NewRegistry()
	for _, d := range Builtin() {
		if _, err := r.Register(d); err != nil {
			t.Error(err)
		}
	}
	if len(r.Groups()) != len(Builtin()) {
		t.Error("two groups have one GUID")
	}
	tops := func(title string) (all []int) {
		for _, m := range r.ByTitle(title).Meters {
			all = append(all, m.Top)
		}
		return all
	}
	types := func(title string) string {
		var b strings.Builder
		letter := map[MeterType]string{Rate: "R", Counter: "C", Gauge: "G", Running: "U"}
		for _, m := range r.ByTitle(title).Meters {
			b.WriteString(letter[m.Type])
		}
		return b.String()
	}
	f := func(title, guid, wantTypes string, wantTops ...int) {
		t.Helper()
		g := r.Lookup(guid)
		if g == nil || g.Title != title {
			t.Errorf("%s is %+v, want %s", guid, g, title)
			return
		}
		if got := types(title); got != wantTypes {
			t.Errorf("%s has the types %s, want %s", title, got, wantTypes)
		}
		if diff := cmp.Diff(wantTops, tops(title)); diff != "" {
			t.Errorf("%s: top counts: %s", title, diff)
		}
	}
	hosts := []int{50, 10, 10, 0, 50, 20, 20, 20, 10, 10, 10, 20, 20, 20, 20, 20, 100}
	const hostTypes = "RRRRUCRRCCCCCCRRC"
	f("Aggregates", "{393B5EBC-AB41-4387-8F31-8077DB917336}", "RRCRRRRRRR", make([]int, 10)...)
	f("Hosts", "{4cd742b1-c1ca-4708-be78-0fca2eb01a86}", hostTypes, hosts...)
	f("Internal Hosts", "{889900CC-0063-11A5-8380-FEBDBABBDBEA}", hostTypes, hosts...)
	f("External Hosts", "{00AA77BB-0063-11A5-8380-FEBDBABBDBEA}", hostTypes, hosts...)
	f("HostsIPv6", "{9807E97A-6CD2-442F-BB18-8C104C8EB204}", hostTypes, hosts...)
	f("HostsIPv6", "{6CD742B1-C1CA-4708-BE78-0FCA2EB01A86}", hostTypes, hosts...)
	f("Apps", "{C51B48D4-7876-479E-B0D9-BD9EFF03CE2E}", "RCRRCRRURR", 50, 10, 50, 50, 50, 50, 50, 50, 50, 50)
	f("NetworkLayerStats", "{E89BCD56-30AD-40F5-B1C8-8B7683F440BD}", "RCUCRR", 10, 10, 10, 10, 10, 10)
	f("FlowGens", "{2314BB8E-2BCC-4B86-8AA2-677E5554C0FE}", "RRRRR", 50, 50, 50, 50, 50)
	f("FlowIntfs", "{C0B04CA7-95FA-44EF-8475-3835F3314761}", "RRRCGG", 1000, 1000, 1000, 100, 100, 100)
	f("Flow-ASN", "{120A3124-E2BB-47BD-6C64-71BBB861C428}", "RRRRR", 10, 10, 10, 10, 10)
	f("Mac", "{4B09BD22-3B99-40FC-8215-94A430EA0A35}", "RR", 20, 20)
	f("Meta Counter Group", "{4D88CC23-2883-4DEA-A313-A23B60FE8BDA}", "GGGGCCCCCCC", make([]int, 11)...)
	f("Meta Session Group", "{594606BD-EEB2-4E0B-BAC4-84B7057088C8}", "GGCCCCCCCGCCCG", make([]int, 14)...)
	f("Web Hosts", "{EEF95297-0C8D-4673-AD6B-F4BD2345FD69}", hostTypes, hosts...)
	if r.Lookup("{0D39F2A7-2627-49D5-9DCF-707E6F1C0571}") != r.Lookup("{3A597F63-29C0-44AF-A7EF-641897D68693}") {
		t.Error("Organization has two GUIDs")
	}
	if r.Lookup("{9781DB2C-F78A-4F7F-A7E8-2B1A9A7BE71A}") != nil {
		t.Error("SNMP-Interface is left to scripts")
	}
	seen := make(map[string]bool)
	for _, g := range OtherGroups() {
		guid, err := ParseGUID(g.GUID)
		if err != nil || guid != g.GUID || seen[g.Kind+guid] || g.Title == "" {
			t.Errorf("%+v: %v", g, err)
		}
		seen[g.Kind+guid] = true
	}
}

func FuzzParseGUID(f *testing.F) {
	f.Add("{4cd742b1-c1ca-4708-be78-0fca2eb01a86}")
	f.Add("{}")
	f.Add("{4cd742b1-c1ca-4708-be78-0fca2eb01a8\xff}")
	f.Fuzz(func(t *testing.T, s string) {
		guid, err := ParseGUID(s)
		if err != nil {
			if guid != "" || len(err.Error()) > 500 {
				t.Errorf("%q gives %q and %v", s, guid, err)
			}
			return
		}
		if again, err := ParseGUID(strings.ToLower(guid)); again != guid || err != nil || !strings.EqualFold(guid, s) {
			t.Errorf("%q gives %q, which gives %q, %v", s, guid, again, err)
		}
	})
}
