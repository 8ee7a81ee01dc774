package daemon

import (
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestTrimTables: the tables are cut into pieces and still read as before.
func TestTrimTables(t *testing.T) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	tables := func() int {
		text, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, " r--p ") && strings.HasSuffix(strings.TrimSpace(line), program) {
				n++
			}
		}
		return n
	}
	trimTables() // a daemon that another test started did it too
	if n := tables(); n < 20 {
		t.Errorf("%d mappings of tables, want many small ones", n)
	}
	if _, file, _, _ := runtime.Caller(0); !strings.HasSuffix(file, "resident_linux_test.go") {
		t.Errorf("this function is in %q after the tables were given back", file)
	}
}
