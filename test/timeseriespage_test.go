package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The first sections of the page do what they say.
func TestTimeseriesPage(t *testing.T) {
	page, err := os.ReadFile("../docs/timeseries.md")
	if err != nil {
		t.Fatal(err)
	}
	sections, _, ok := strings.Cut(string(page), "\n## Grafana and PromQL\n")
	if !ok {
		t.Fatal("the page has no section about PromQL")
	}
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", "http: {listen: '127.0.0.1:0'}\nsources: {}\n")
	p := daemonOf(t, dir)
	seen, _ := p.follow(t, dir, sections)
	if seen["yaml"] != 2 || seen["sh"] != 1 || seen["text"] != 1 {
		t.Errorf("the blocks are %v", seen)
	}
}

// follow does what a page says, as its reader would with p at work in dir: yaml blocks are configurations
// that weir check finds fine, sh blocks run in dir, and print the text block behind them. It
// returns how many blocks there are of each kind, and what the last one printed.
func (p *process) follow(t *testing.T, dir, page string) (seen map[string]int, printed string) {
	t.Helper()
	shell := func(commands string) string {
		t.Helper()
		cmd := exec.Command("bash", "-eu", "-o", "pipefail")
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(commands)
		cmd.Env = append(environment(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "WEIR_URL="+p.http)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s\n%v\n%s", commands, err, out)
		}
		return string(out)
	}
	seen = make(map[string]int)
	for _, block := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(page, -1) {
		seen[block[1]]++
		switch text := block[2]; block[1] {
		case "yaml":
			writeFile(t, dir, "block.yaml", text)
			shell("weir check -c block.yaml")
		case "sh":
			if printed = shell(strings.ReplaceAll(text, "http://127.0.0.1:8088", p.http)); printed == "" {
				t.Errorf("nothing is printed by\n%s", text)
			}
		case "text":
			if printed != text {
				t.Errorf("it printed\n%s\nthe page has\n%s", printed, text)
			}
		default:
			t.Errorf("nobody looks at this block:\n%s", text)
		}
	}
	return seen, printed
}
