package drivers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/timeseries"
)

func TestCatalog(t *testing.T) {
	dir := t.TempDir()
	c := newCatalog(dir)
	if err := c.load(); err != nil || len(c.list()) != 0 {
		t.Error(err, c.list())
	}
	changed := *gauge
	changed.Metrics = []string{"value", "more"}
	if err := errors.Join(c.add(gauge), c.add(&timeseries.Schema{Name: "a:b", Step: 1, Metrics: []string{"m"}}), c.add(&changed), c.save()); err != nil {
		t.Fatal(err)
	}
	if err := c.add(&timeseries.Schema{Name: "bad"}); err == nil {
		t.Error("a schema that is not valid is taken")
	}
	c = newCatalog(dir)
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range c.list() {
		got = append(got, fmt.Sprint(s.Name, s.Metrics))
	}
	if fmt.Sprint(got) != "[a:b[m] test:gauge[value more]]" {
		t.Errorf("got %v", got)
	}

	// A file with a schema that makes no sense, and one that is no JSON.
	file := filepath.Join(dir, "schemas.json")
	if err := os.WriteFile(file, []byte(`[null, {"Name":"bad"}, {"Name":"c:d","Step":1,"Metrics":["m"]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	c = newCatalog(dir)
	if err := c.load(); err == nil || !strings.Contains(err.Error(), `"bad"`) || len(c.list()) != 1 {
		t.Errorf("%v, %v", err, c.list())
	}
	if err := os.WriteFile(file, []byte(`[{"Name`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newCatalog(dir).load(); err == nil {
		t.Error("a damaged file is taken")
	}
	if text, err := os.ReadFile(file + ".damaged"); err != nil || string(text) != `[{"Name` {
		t.Errorf("%q, %v", text, err)
	}
}
