// Package test holds the end-to-end tests: they build weir, start it, send to it
// over sockets and ask it, as its users do.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// binary is the weir that is tested.
var binary string

// buildFlags make it a binary like the tests themselves, with the race detector or without.
var buildFlags []string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "weir")
	args := append([]string{"build"}, buildFlags...)
	if out, err := exec.Command("go", append(args, "-o", binary, "github.com/weirhq/weir/cmd/weir")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build weir: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// TestScripts runs testdata/script; commands_test.go says what they can do.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Cmds: commands, Setup: setup,
		UpdateScripts: os.Getenv("UPDATE") != "", RequireUniqueNames: true,
	})
}
