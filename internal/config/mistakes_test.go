package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const divider = "\n----------\n"

// Each file of testdata/mistakes holds a configuration and, below a line of
// dashes, what is said about it.
func TestMistakes(t *testing.T) {
	files, err := filepath.Glob("testdata/mistakes/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, want, _ := strings.Cut(string(content), divider)
			if _, err = Parse("weir.yaml", []byte(text)); err == nil {
				t.Fatal("no mistake found")
			}
			if os.Getenv("UPDATE") != "" {
				want = err.Error() + "\n"
				if err := os.WriteFile(file, []byte(text+divider+want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, err.Error()+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMistakesInFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f := func(text, want string) {
		t.Helper()
		path := write("weir.yaml", text)
		_, err := Load(path)
		if err == nil {
			t.Errorf("%s: no mistake found", text)
			return
		}
		if got := strings.ReplaceAll(err.Error(), dir+"/", ""); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f("http: {token_file: "+filepath.Join(dir, "none")+"}", `weir.yaml:1:20: cannot use "none" for http.token_file: no such file or directory`)
	f("http: {token_file: "+write("empty", " \n")+"}", `weir.yaml:1:20: cannot use "empty" for http.token_file: the file is empty`)
	f("http: {token_file: "+write("two", "a\nb")+"}", `weir.yaml:1:20: cannot use "two" for http.token_file: the file has more than one line or control characters`)
	f("http: {tls: {cert: "+write("cert", "x")+", key: "+filepath.Join(dir, "none")+"}}",
		`weir.yaml:1:13: cannot use the certificate "cert" with the key "none": open none: no such file or directory`)
	f("sources: {bbdo: [{connect: 'tcp://a:1', tls: {mode: required, ca: "+filepath.Join(dir, "none")+"}}]}",
		`weir.yaml:1:46: cannot use sources.bbdo[0].tls: cannot read certificates of authorities: open none: no such file or directory`)
	if _, err := Load(filepath.Join(dir, "missing.yaml")); err == nil || !strings.HasSuffix(err.Error(), "missing.yaml: cannot read the configuration: no such file or directory") {
		t.Error(err)
	}
	token := write("token", "s3cret\n")
	if c, err := Load(write("good.yaml", "http: {token_file: "+token+"}")); err != nil || c.HTTP.Token != "s3cret" {
		t.Error(c, err)
	}
}

// A file that would take the parser much memory is not given to it.
func TestExcess(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if _, err := Parse("weir.yaml", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	f("a: 1\nb: "+strings.Repeat("[", 1000), "weir.yaml:2:1: cannot read the file: more than 64 brackets are open")
	f("b: "+strings.Repeat("{a: ", 1000), "weir.yaml:1:1: cannot read the file: more than 64 brackets are open")
	f("a:\n  "+strings.Repeat("- ", 1000), "weir.yaml:2:1: cannot read the file: more than 64 lists in each other")
	f(strings.Repeat("#", 1<<20+1), "weir.yaml:1:1: cannot read the file: it has 1048577 bytes, and at most 1048576 are allowed")
	parsed(t, strings.Repeat("# [ and ]\n", 1000)) // brackets of comments close, too
}

func TestFail(t *testing.T) {
	c := parsed(t, "sources:\n  statsd:\n    - listen: udp://:1\n")
	f := func(c *Config, path, want string) {
		t.Helper()
		if got := c.Fail(path, os.ErrExist).Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	f(c, "sources.statsd[0].listen", "weir.yaml:3:15: file already exists")
	f(c, "sources.statsd[0].mode", "weir.yaml:3:7: file already exists")
	f(c, "http.listen", "weir.yaml: file already exists (option http.listen, which has its default)")
	f(Default(), "http.listen", "file already exists (option http.listen, which has its default)")
}

func TestNearest(t *testing.T) {
	f := func(text, want string, words ...string) {
		t.Helper()
		if got := nearest(text, words); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f("flushInterval", "flush_interval", "percentiles", "flush_interval")
	f("lisetn", "listen", "list", "listen")
	f("x", "", "y", "listen")
	f("colour", "", "listen", "mode")
	f("tls_cert", "", "token", "tls")
}
