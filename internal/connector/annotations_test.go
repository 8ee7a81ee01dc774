package connector

import (
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/broker"
	"github.com/weirhq/weir/internal/lua"
)

const annotations = "../../examples/connectors/annotations/broker.lua"

// Editors know each global and function of the interface, and no other.
func TestAnnotations(t *testing.T) {
	vm, err := lua.New(lua.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer vm.Close()
	s := &Script{vm: vm, out: new(recorder), cache: broker.NewCache(slog.New(slog.DiscardHandler))}
	globals, err := s.globals()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"broker_api_version", "init", "filter", "write", "flush"}
	for name, table := range globals.tables {
		want = append(want, name)
		for _, pair := range table.Hash {
			if function, ok := pair.Key.(string); ok {
				want = append(want, name+"."+function)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(socketMethods())) {
		want = append(want, "connection."+name)
	}

	text, err := os.ReadFile(annotations)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vm.Load("@broker.lua", text); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^(?:function (\w+)(?:[.:](\w+))?\(|(\w+) = )`).FindAllSubmatch(text, -1) {
		name := string(m[1]) + string(m[3])
		if len(m[2]) > 0 {
			name += "." + string(m[2])
		}
		got = append(got, name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the interface and its annotations (-want +got):\n%s", d)
	}
	undescribed := regexp.MustCompile(`(?m)(^|\n)\n(---@.*\n)*function .*`)
	if m := undescribed.Find(text); m != nil {
		t.Errorf("without a description: %s", m)
	}
}
