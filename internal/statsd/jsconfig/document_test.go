package jsconfig

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The configurations in the documentation must work, and the mistake it shows must look like that.
func TestDocument(t *testing.T) {
	document, err := os.ReadFile("../../../docs/statsd.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```js\n(.*?)```").FindAllStringSubmatch(string(document), -1)
	if len(blocks) < 2 {
		t.Fatalf("%d configurations in docs/statsd.md", len(blocks))
	}
	for _, block := range blocks {
		if _, err := Parse("docs/statsd.md", []byte(block[1])); err != nil {
			t.Errorf("%s\n%v", block[1], err)
		}
	}
	_, err = Parse("/etc/statsd/config.js", []byte("{\n  port: 8125,\n  flushInterval: 'soon',\n}"))
	if err == nil || !strings.Contains(string(document), "\nweir: "+err.Error()+"\n") {
		t.Errorf("the document does not show %v", err)
	}
}
