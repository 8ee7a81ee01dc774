package connector

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStamp(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "script.txt")
	put := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := Stamp(path)
	f := func(what string, changes bool) {
		t.Helper()
		now := Stamp(path)
		if (now != before) != changes {
			t.Errorf("%s: changed is %v", what, !changes)
		}
		before = now
	}
	f("nothing", false)
	put("script.txt", "a")
	f("the script is there", true)
	put("script.txt", "ab")
	f("the script is another", true)
	put("lib/other.lua", "a")
	f("a module is there", true)
	put("data.json", "a")
	f("data is there", false)
	if err := os.Remove(filepath.Join(dir, "lib/other.lua")); err != nil {
		t.Fatal(err)
	}
	f("a module is gone", true)
	path = filepath.Join(dir, "nowhere", "x.lua")
	before = Stamp(path)
	f("a folder that is missing", false)
}
