package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/internal/delivery"
)

func TestOutputs(t *testing.T) {
	t.Setenv("STORE_SECRET", "s3cret")
	c := parsed(t, `
statsd:
  backends:
    - influxdb: {url: "http://127.0.0.1:8086", username: weir, password: "${STORE_SECRET}", tags: {host: a}, max_queue: 64MiB}
    - influxdb: {url: "https://influx.example.net", bucket: b, organization: o, token_file: /etc/weir/token, type_tag: ""}
    - opentsdb: {url: "http://127.0.0.1:4242", prefix: stats.}
    - http: {url: "http://127.0.0.1/in/", headers: {X-Key: "${STORE_SECRET}"}}
    - events
connectors: [{name: a, script: a.lua}]
`)
	b := c.StatsD.Backends
	if i := b[0].InfluxDB; b[0].Module() || i.Server.Access.Password.Text != "s3cret" || i.Server.Database != "statsd" || i.TypeTag != "metric_type" || i.Tags["host"] != "a" || i.MaxQueue != 64<<20 {
		t.Errorf("got %+v", i)
	}
	if i := b[1].InfluxDB; i.Server.Bucket != "b" || i.Server.Organization != "o" || i.Server.Access.Token != (delivery.Secret{File: "/etc/weir/token"}) || i.TypeTag != "" || i.MaxQueue != 512<<20 {
		t.Errorf("got %+v", i)
	}
	if o := b[2].OpenTSDB; b[2].Module() || o.Batch != 20 || o.Prefix != "stats." {
		t.Errorf("got %+v", o)
	}
	if h := b[3].HTTP; b[3].Module() || h.Access.URL != "http://127.0.0.1/in/" || h.Headers["X-Key"] != "s3cret" {
		t.Errorf("got %+v", h)
	}
	if b[4].Module() || b[4].Kind != "events" {
		t.Errorf("got %+v", b[4])
	}
	for _, s := range c.Settings("statsd") { // the management console prints them
		if strings.Contains(s.Value, "s3cret") {
			t.Errorf("%s shows a secret: %s", s.Path, s.Value)
		}
	}
	other := parsed(t, `statsd: {backends: [{http: {url: "http://127.0.0.1/in/", headers: {X-Key: "another"}}}]}`)
	same := parsed(t, `statsd: {backends: [{http: {url: "http://127.0.0.1/in/", headers: {X-Key: "another"}}}]}`)
	if len(Changes(other, same)) != 0 {
		t.Errorf("got %v", Changes(other, same))
	}
	same.StatsD.Backends[0].HTTP.Headers["X-Key"] = "a third"
	if len(Changes(other, same)) != 1 {
		t.Errorf("got %v", Changes(other, same))
	}
}

// A file with a secret that cannot be read is a mistake of the configuration.
func TestOutputFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(path, []byte(`statsd: {backends: [{http: {url: "http://127.0.0.1/in", token_file: /nowhere/token}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "statsd.backends[0].http.token_file") {
		t.Errorf("got %v", err)
	}
}
