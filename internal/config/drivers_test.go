package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/delivery"
)

func TestRemoteDrivers(t *testing.T) {
	t.Setenv("STORE", "s3cret")
	c := parsed(t, `
timeseries:
  write:
    - store
    - influxdb: {url: "http://127.0.0.1:8086", database: weir, username: weir, password: "${STORE}", max_queue: 64MiB}
    - influxdb: {name: cloud, url: "https://influx.example.net", bucket: b, organization: o, token_file: /etc/weir/token}
    - prometheus: {url: "http://127.0.0.1:9090/prom", write_url: "http://127.0.0.1:9009/api/v1/push", tls: {ca: ca.pem}}
    - clickhouse: {url: "http://127.0.0.1:8123", instance: lyon}
`)
	w := c.Timeseries.Write
	if len(w) != 5 || w[1].Name != "influxdb" || w[2].Name != "cloud" || c.Timeseries.Read != "store" {
		t.Fatalf("got %+v", w)
	}
	if r := w[1].Remote; r.MaxQueue != 64<<20 || r.InfluxDB.Database != "weir" || r.InfluxDB.Access.Password.Text != "s3cret" || r.InfluxDB.Access.URL != "http://127.0.0.1:8086" {
		t.Errorf("got %+v", r)
	}
	if r := w[2].Remote; r.MaxQueue != 512<<20 || r.InfluxDB.Bucket != "b" || r.InfluxDB.Organization != "o" || r.InfluxDB.Access.Token != (delivery.Secret{File: "/etc/weir/token"}) {
		t.Errorf("got %+v", r)
	}
	if r := w[3].Remote; r.Prometheus.WriteURL != "http://127.0.0.1:9009/api/v1/push" || r.Prometheus.Access.TLS.CA != "ca.pem" {
		t.Errorf("got %+v", r)
	}
	if r := w[4].Remote; r.ClickHouse.Database != "ntopng" || r.ClickHouse.Table != "timeseries" || r.ClickHouse.Instance != "lyon" {
		t.Errorf("got %+v", r)
	}
}

func TestRemoteMistakes(t *testing.T) {
	for entry, want := range map[string]string{
		`influxdb`:                                                                  `without options: write for example "influxdb: {url: http://127.0.0.1:8086}"`,
		`influxdb: {database: x}`:                                                   `without the key "url"`,
		`influxdb: {url: "127.0.0.1:8086"}`:                                         `did you mean "http://127.0.0.1:8086"?`,
		`influxdb: {url: "http://a:b@c"}`:                                           `user and password do not go there, write them as username and password`,
		`influxdb: {url: "ftp://c"}`:                                                `it must be http://HOST:PORT or https://HOST:PORT`,
		`influxdb: {url: "http://c", bucket: b, organization: o}`:                   `InfluxDB 2.x needs organization, and token or token_file`,
		`influxdb: {url: "http://c", organization: o}`:                              `it has the bucket, which is not given`,
		`influxdb: {url: "http://c", token: t}`:                                     `InfluxDB 1.x has none`,
		`prometheus: {url: "http://c", token: t, token_file: f}`:                    `token is given too`,
		`prometheus: {url: "http://c", username: u, password: p, token: t}`:         `keep the token or them`,
		`clickhouse: {url: "http://c", password: p}`:                                `it is that of username, which is not given`,
		`clickhouse: {url: "http://c", username: u, password: p, password_file: f}`: `password is given too`,
		`clickhouse: {url: "http://c", tls: {cert: f}}`:                             `the key is not given`,
		`clickhouse: {url: "http://c", max_queue: 10B}`:                             `at least 1MiB`,
	} {
		_, err := Parse("weir.yaml", []byte("timeseries: {write: [{"+strings.Replace(entry, "influxdb", "influxdb", 1)+"}]}"))
		if !strings.Contains(entry, ":") {
			_, err = Parse("weir.yaml", []byte("timeseries: {write: ["+entry+"]}"))
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\ngot  %v\nwant %s", entry, err, want)
		}
	}
}

func TestRemoteFiles(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "weir.yaml")
	text := "timeseries:\n  write:\n    - clickhouse:\n        url: http://c\n        username: u\n        password_file: " + empty + "\n        tls: {ca: " + empty + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file)
	want := strings.NewReplacer("FILE", file, "EMPTY", empty).Replace(`FILE:6:24: cannot use "EMPTY" for timeseries.write[0].clickhouse.password_file: the file is empty
FILE:7:14: cannot use timeseries.write[0].clickhouse.tls: cannot use "EMPTY" as authorities to trust: there is no certificate in PEM in it`)
	if err == nil || cmp.Diff(want, err.Error()) != "" {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// The configurations on the page are right.
func TestTimeseriesPage(t *testing.T) {
	for _, name := range []string{"INFLUX_TOKEN", "CLICKHOUSE_PASSWORD"} {
		t.Setenv(name, "s3cret")
	}
	page, err := os.ReadFile("../../docs/timeseries.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "\n## Remote stores\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "```")
	if !found || len(blocks) < 2 {
		t.Fatal("the section about remote stores has no configuration")
	}
	for i := 1; i < len(blocks); i += 2 {
		if text, is := strings.CutPrefix(blocks[i], "yaml\n"); is {
			if c := parsed(t, text); len(c.Timeseries.Write) == 0 {
				t.Errorf("got %+v", c.Timeseries.Write)
			}
		}
	}
}
