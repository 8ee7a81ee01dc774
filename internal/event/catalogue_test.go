package event

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCatalogue(t *testing.T) {
	count := map[Family]int{}
	for _, d := range Descriptors() {
		count[d.Family]++
		if Lookup(d.Type) != d || d.Type.Family() != d.Family || d.Type.Name() != d.Filter {
			t.Errorf("%v is not found by its type", d.Type)
		}
		if pair, ok := Pair(d.Type); ok {
			back, _ := Pair(pair)
			if other := Lookup(pair); back != d.Type || other == nil || other.Family == d.Family {
				t.Errorf("%v is paired with %v, that with %v", d.Type, pair, back)
			}
		}
		if d.Family == Protobuf && strings.Contains(catalogueText, "\nundecodable "+d.Type.String()) {
			t.Errorf("%v is both decodable and not", d.Type)
		}
	}
	if count[Legacy] != 43 || count[Protobuf] != 58 || len(catalogue.pairs) != 2*38 || len(catalogue.undecodable) != 12 {
		t.Errorf("%v events, %d pairs, %d undecodable", count, len(catalogue.pairs)/2, len(catalogue.undecodable))
	}
	for of, name := range catalogue.renamed {
		if Lookup(of.of).Field(of.name) == nil || Lookup(catalogue.pairs[of.of]).Field(name) == nil {
			t.Errorf("%v: %s or %s is not a field", of.of, of.name, name)
		}
	}
}

// TestVisible checks the counts of specification 2.3, less the three common members.
func TestVisible(t *testing.T) {
	f := func(typ Type, want, hidden int) {
		t.Helper()
		visible := 0
		for _, field := range Lookup(typ).Fields {
			if !field.Hidden {
				visible++
			}
		}
		if visible != want || len(Lookup(typ).Fields) != want+hidden {
			t.Errorf("%v has %d visible members of %d, want %d", typ, visible, len(Lookup(typ).Fields), want)
		}
	}
	f(MakeType(1, 23), 80, 1) // service
	f(MakeType(1, 1), 12, 1)  // acknowledgement
	f(MakeType(1, 27), 87, 0)
	f(MakeType(2, 3), 0, 0)
}

func TestNames(t *testing.T) {
	f := func(typ Type, name, text string, family Family) {
		t.Helper()
		if typ.Name() != name || typ.String() != text || typ.Family() != family {
			t.Errorf("%q %q %v, want %q %q %v", typ.Name(), typ.String(), typ.Family(), name, text, family)
		}
	}
	f(65560, "service_status", "neb:service_status (1:24)", Legacy)
	f(65565, "ServiceStatus", "neb:ServiceStatus (1:29)", Protobuf)
	f(65574, "CustomVariablesStatus", "neb:CustomVariablesStatus (1:38)", Protobuf)
	f(196617, "pb_metric", "storage:pb_metric (3:9)", Protobuf)
	f(MakeType(1, 18), "module", "neb:module (1:18)", None)
	f(MakeType(1, 43), "", "1:43", None)
	f(MakeType(99, 1), "", "99:1", None)
	if got := []string{Legacy.String(), Protobuf.String(), None.String()}; !cmp.Equal(got, []string{"legacy", "protobuf", "none"}) {
		t.Error(got)
	}
}

func TestCatalogueMistakes(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		defer func() {
			if got, _ := recover().(string); got != want {
				t.Errorf("%q: %q, want %q", text, got, want)
			}
		}()
		mustReadCatalogue(text)
	}
	f("# comment\nevent 1:1 x", `catalogue.txt:2: unknown statement "event"`)
	f("legacy 1:1 x a:u16", `catalogue.txt:1: unknown kind "u16"`)
	f("protobuf 1:1 X X 1=a:Unknown", `catalogue.txt:1: unknown type "Unknown"`)
	f("protobuf 1:1 X X 1=a:{Y}", `catalogue.txt: message Y is used but not described`)
	f("legacy 1:x x", `catalogue.txt:1: strconv.ParseUint: parsing "x": invalid syntax`)
}

func TestFilter(t *testing.T) {
	status, statusPB, metric, ba, ack := MakeType(1, 24), MakeType(1, 29), MakeType(3, 9), MakeType(6, 19), MakeType(2, 8)
	f := func(names []string, unknown []string, want ...Type) {
		t.Helper()
		filter, got := ParseFilters(names)
		if !cmp.Equal(got, unknown) {
			t.Errorf("%v: unknown %v, want %v", names, got, unknown)
		}
		var passed []Type
		for _, typ := range []Type{status, statusPB, metric, ba, ack, MakeType(9, 1), MakeType(1, 99), MakeType(1, 18), MakeType(77, 1)} {
			if filter.Match(typ) {
				passed = append(passed, typ)
			}
		}
		if !cmp.Equal(passed, want) {
			t.Errorf("%v lets %v pass, want %v", names, passed, want)
		}
	}
	everything := []Type{status, statusPB, metric, ba, MakeType(1, 99), MakeType(1, 18), MakeType(77, 1)}
	f(nil, nil, everything...)
	f([]string{"all"}, nil, everything...)
	f([]string{"neb", "all"}, nil, everything...)
	f([]string{"neb"}, nil, status, statusPB, MakeType(1, 99), MakeType(1, 18))
	f([]string{"neb:service_status", "bam"}, nil, status, ba)
	f([]string{"neb:ServiceStatus", "storage:pb_metric"}, nil, statusPB, metric)
	f([]string{"neb:ServiceStatus", "bbdo", "local"}, nil, statusPB)
	f([]string{"neb:servicestatus", "nebb"}, []string{"neb:servicestatus", "nebb"}, everything...)
	f([]string{"neb:x", "bam", "storage:ServiceStatus"}, []string{"neb:x", "storage:ServiceStatus"}, ba)
	f([]string{"dumper"}, nil)
	if !(&Filter{}).Match(status) {
		t.Error("the zero filter lets nothing pass")
	}
}
