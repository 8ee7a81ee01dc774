package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The page does what it says: yaml blocks are configurations that weir check finds fine, sh
// blocks run, and print the text block behind them.
func TestInventoryPage(t *testing.T) {
	page, err := os.ReadFile("../docs/inventory.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", "http: {listen: '127.0.0.1:0'}\nsources: {}\n")
	writeFile(t, dir, "secret", "a secret of the page\n")
	p := daemonOf(t, dir)
	shell := func(commands string) string {
		t.Helper()
		cmd := exec.Command("bash", "-eu", "-o", "pipefail")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(commands)
		cmd.Env = append(environment(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s\n%v\n%s", commands, err, out)
		}
		return string(out)
	}
	printed, blocks := "", 0
	for _, block := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		blocks++
		switch text := block[2]; block[1] {
		case "yaml":
			writeFile(t, dir, "block.yaml", text)
			shell("weir check -c block.yaml")
		case "sh":
			text = strings.ReplaceAll(text, "http://127.0.0.1:8088", p.http)
			printed = shell(strings.ReplaceAll(text, "weir topk", "weir topk --url "+p.http))
			if strings.Contains(text, "weir topk") && !strings.Contains(printed, "entity.1.lamp.brightness") {
				t.Errorf("it printed %s", printed)
			}
		case "text":
			if printed != text {
				t.Errorf("it printed\n%s\nthe page has\n%s", printed, text)
			}
		default:
			t.Errorf("nobody looks at this block:\n%s", text)
		}
	}
	if blocks != 8 {
		t.Errorf("there are %d blocks", blocks)
	}
}
