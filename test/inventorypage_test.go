package test

import (
	"os"
	"strings"
	"testing"
)

// The page about the inventory does what it says.
func TestInventoryPage(t *testing.T) {
	page, err := os.ReadFile("../docs/inventory.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", "http: {listen: '127.0.0.1:0'}\nsources: {}\n")
	writeFile(t, dir, "secret", "a secret of the page\n")
	p := daemonOf(t, dir)
	seen, printed := p.follow(t, dir, string(page))
	if seen["yaml"] != 1 || seen["sh"] != 4 || seen["text"] != 3 {
		t.Errorf("the blocks are %v", seen)
	}
	if !strings.Contains(printed, "entity.1.lamp.brightness") {
		t.Errorf("at last it printed\n%s", printed)
	}
}
