package resident

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestTrim: the tables are cut into pieces and still read as before.
func TestTrim(t *testing.T) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	Trim()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, " r--p ") || !strings.HasSuffix(strings.TrimSpace(line), program) {
			continue
		}
		n++
		var from, to uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		if to-from > piece {
			t.Errorf("a mapping of tables has %d bytes, want at most %d", to-from, piece)
		}
	}
	if n < 2 {
		t.Errorf("%d mappings of tables, want many small ones", n)
	}
	if _, file, _, _ := runtime.Caller(0); !strings.HasSuffix(file, "resident_linux_test.go") {
		t.Errorf("this function is in %q after the tables were given back", file)
	}
}
