package monitor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMatch: section 10.4 and the rules of 2.2.
func TestMatch(t *testing.T) {
	groups := []Group{
		{Title: "Hosts", GUID: "{4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}"},
		{Title: "Internal Hosts", GUID: "{889900CC-0063-11A5-8380-FEBDBABBDBEA}"},
		{Title: "External Hosts", GUID: "{00AA77BB-0063-11A5-8380-FEBDBABBDBEA}"},
		{Title: "HostsIPv6", GUID: "{9807E97A-6CD2-442F-BB18-8C104C8EB204}", Aliases: []string{"{6CD742B1-C1CA-4708-BE78-0FCA2EB01A86}"}},
		{Title: "Apps", GUID: "{C51B48D4-7876-479E-B0D9-BD9EFF03CE2E}"},
	}
	f := func(name string, want Attach, titles string, notes int) {
		t.Helper()
		matched, said := match(want, groups)
		var got []string
		for _, g := range matched {
			got = append(got, g.Title)
		}
		if diff := cmp.Diff(titles, strings.Join(got, ", ")); diff != "" || len(said) != notes {
			t.Errorf("%s: %s%d notes %q, want %d", name, diff, len(said), said, notes)
		}
	}
	hosts := groups[0].GUID
	f("one GUID, in any case", Attach{GUIDs: []string{strings.ToLower(hosts)}}, "Hosts", 0)
	f("twice, and one nobody knows", Attach{GUIDs: []string{hosts, strings.ToLower(hosts), "{00000000-0000-0000-0000-000000000000}"}}, "Hosts", 1)
	f("an alias", Attach{GUIDs: []string{"{6CD742B1-C1CA-4708-BE78-0FCA2EB01A86}"}}, "HostsIPv6", 0)
	f("everything at once", Attach{GUIDs: []string{groups[4].GUID, hosts}, Names: []string{"HOSTS"}, Regex: "^Hosts$", HasRegex: true}, "Apps, Hosts, Internal Hosts, External Hosts, HostsIPv6", 0)
	f("an expression is searched", Attach{Regex: "(?i)nal", HasRegex: true}, "Internal Hosts, External Hosts", 0)
	f("an expression that is none", Attach{GUIDs: []string{hosts}, Regex: "(", HasRegex: true}, "Hosts", 1)
	f("an empty name", Attach{Names: []string{""}}, "Hosts, Internal Hosts, External Hosts, HostsIPv6, Apps", 1)
	f("nothing", Attach{}, "", 0)
}

func TestScan(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"app/b.lua", "app/a.lua", "z.lua", "readme.txt", ".hidden.lua", "one.lua"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, failed := scan([]Entry{{Path: filepath.Join(dir, "one.lua")}, {Path: dir}, {Path: filepath.Join(dir, "nowhere")}})
	var names []string
	for _, s := range found {
		names = append(names, s.name)
	}
	if diff := cmp.Diff([]string{"one.lua", "app/a.lua", "app/b.lua", "z.lua"}, names); diff != "" {
		t.Error(diff)
	}
	if len(failed) != 1 || !strings.Contains(failed[0].Error(), "there is no such file or directory") {
		t.Errorf("failed %v", failed)
	}
	before := found[3]
	if err := os.WriteFile(before.path, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	after, _ := scan([]Entry{{Path: dir}})
	if before.same(after[len(after)-1]) {
		t.Error("a changed file is the same")
	}
}
