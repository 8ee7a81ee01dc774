package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Options of a driver in a script are what they are in the file: text, numbers, true and false (R29).
func TestLuaDriver(t *testing.T) {
	t.Setenv("PASSWORD", "s3cret")
	c, err := Parse("weir.yaml", []byte(`
timeseries:
  write:
    - store
    - lua: {script: influxdb, name: far, installation: /opt/ntopng, modules: installation, query_timeout: 3s,
            options: {url: "http://192.0.2.1:8086", password: "${PASSWORD}", retries: 3, verify: false},
            preferences: {influx_dbname: weir}, interfaces: {"1": eth0}}
  read: far
`))
	if err != nil {
		t.Fatal(err)
	}
	got := c.Timeseries.Write[1]
	want := newLuaDriver()
	want.Script, want.Installation, want.Modules, want.Query = "influxdb", "/opt/ntopng", "installation", 3*time.Second
	want.Options = map[string]any{"url": "http://192.0.2.1:8086", "password": "s3cret", "retries": 3.0, "verify": false}
	want.Preferences, want.Interfaces = map[string]string{"influx_dbname": "weir"}, map[string]string{"1": "eth0"}
	if diff := cmp.Diff(want, got.Lua); diff != "" || got.Name != "far" || !got.Lua.Parity() {
		t.Error(got.Name, diff)
	}
}

func TestLuaDriverMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"lua":                                     `w.yaml:1:22: cannot use "lua" for timeseries.write[0] without options: write for example "lua: {script: /etc/weir/drivers/mine.lua}"`,
		"lua: {script: a, options: [1]}":          "w.yaml:1:48: cannot use the value of timeseries.write[0].lua.options: it must be a mapping of names to values, not a list",
		"lua: {script: a, options: {x: .inf}}":    "w.yaml:1:52: cannot use the value of timeseries.write[0].lua.options.x: it must be text, not a number; write it in quotes",
		"lua: {script: a, options: {x: 1, x: 2}}": "",
	} {
		_, err := Parse("w.yaml", []byte("timeseries: {write: ["+text+"]}"))
		if err == nil || want != "" && err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", text, err, want)
		}
	}
}
