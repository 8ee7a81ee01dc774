package tsdriver

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/timeseries"
)

// FuzzAnswer is what the process of a script may say.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"result":{"start":1,"step":60,"raw_step":60,"count":1,"total":"AAAAAAAA8H8=","series":[{"label":"a","data":"AAAAAAAA8H8="}],"statistics":{"values":"","indexes":[1,2]}}}`)
	f.Add(`{"code":"no_series","error":"x"}`)
	f.Add(`{"totals":{"a":1},"items":[{"tags":{"a":"b"},"value":5}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		a := new(answer)
		if json.Unmarshal([]byte(text), a) != nil {
			return
		}
		fromBitMap(a.Totals)
		r, err := a.Result.result(&timeseries.Query{Schema: traffic})
		if err != nil {
			return
		}
		for _, s := range r.Series {
			if len(s.Data) != r.Count || len(r.Total) != r.Count {
				t.Errorf("%+v", r)
			}
		}
		if _, err := json.Marshal(r); err != nil {
			t.Error(err)
		}
	})
}

// FuzzFetch is what rrdtool may say.
func FuzzFetch(f *testing.F) {
	f.Add("                              a                   b\n\n1000000020: -nan 1.5\n1000000080: 5.3333333333e+00 nan\n")
	f.Add(" x\n\n1000000120: 6\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		if table, err := parseFetch(lines, 60); err == nil {
			for _, column := range table.columns {
				if len(column) != len(table.columns[0]) {
					t.Errorf("%+v", table)
				}
			}
		}
		_, _, _ = parseLast(lines)
	})
}

// FuzzCache is a file that a process left.
func FuzzCache(f *testing.F) {
	f.Add(`{"values":{"a":{"text":"b","until":5}},"lists":{"l":["x","y"]}}`)
	f.Add("{")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "cache.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _ := openCache(path, map[string]string{"given": "1"}, time.Now)
		if c.get("given") != "1" {
			t.Error("a preference of the configuration is gone")
		}
		_ = c.push("l", "z", 2)
		c.drop("l", "y")
		if _, err := c.increment("a", 1); err != nil {
			t.Error(err)
		}
		c.remove("a")
		if err := c.save(true); err != nil {
			t.Error(err)
		}
	})
}

// FuzzRRDLine is what scripts hand to rrdtool: one command is one line, and an argument one word.
func FuzzRRDLine(f *testing.F) {
	f.Add("a b", "it's")
	f.Add(`"`, "\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		line, err := rrdLine([]string{a, b})
		if err == nil && (strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n")) {
			t.Errorf("%q", line)
		}
	})
}
