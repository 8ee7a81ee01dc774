package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/internal/delivery"
	"github.com/weirhq/weir/internal/drivers/clickhouse"
	"github.com/weirhq/weir/internal/drivers/influxdb"
	"github.com/weirhq/weir/internal/drivers/prometheus"
	"github.com/weirhq/weir/internal/spool"
)

// Remote is what an entry of timeseries.write says about a remote store; that of its kind counts.
type Remote struct {
	MaxQueue   int64 // bytes
	InfluxDB   influxdb.Config
	Prometheus prometheus.Config
	ClickHouse clickhouse.Config
}

// The kinds of remote stores.
const (
	InfluxDBDriver   = "influxdb"
	PrometheusDriver = "prometheus"
	ClickHouseDriver = "clickhouse"
)

func defaultRemote() Remote {
	return Remote{
		MaxQueue:   spool.DefaultMaxBytes,
		InfluxDB:   influxdb.Config{Database: "ntopng"},
		ClickHouse: clickhouse.Config{Database: "ntopng", Table: "timeseries"},
	}
}

// access is how the server of an entry is reached, nil when it has none.
func (w *Driver) access() *delivery.Access {
	switch w.Kind {
	case InfluxDBDriver:
		return &w.Remote.InfluxDB.Access
	case PrometheusDriver:
		return &w.Remote.Prometheus.Access
	case ClickHouseDriver:
		return &w.Remote.ClickHouse.Access
	}
	return nil
}

// remoteKinds are the kinds of remote stores.
func remoteKinds(to *Driver) []namedCase {
	r := &to.Remote
	name := func(name string, to *string, example, doc string) option {
		return option{name: name, value: text{to: to, check: filled}, example: example, doc: doc}
	}
	influx := remoteOptions(&r.MaxQueue, &r.InfluxDB.Access, "http://127.0.0.1:8086", "",
		name("database", &r.InfluxDB.Database, "weir", "The database of InfluxDB 1.x; made when it is missing. ntopng's is `ntopng`."),
		name("bucket", &r.InfluxDB.Bucket, "weir", "The bucket of InfluxDB 2.x, instead of `database`. Needs `organization` and a token."),
		name("organization", &r.InfluxDB.Organization, "example", "Who has the bucket."))
	prom := remoteOptions(&r.MaxQueue, &r.Prometheus.Access, "http://127.0.0.1:9090", " Series are read below it, at `/api/v1/query`.",
		option{name: "write_url", value: serverURL{&r.Prometheus.WriteURL}, example: "http://127.0.0.1:9009/api/v1/push",
			doc: "Where samples are sent, when it is not `/api/v1/write` below `url`."})
	click := remoteOptions(&r.MaxQueue, &r.ClickHouse.Access, "http://127.0.0.1:8123", "",
		name("database", &r.ClickHouse.Database, "weir", "Made when it is missing. ntopng's is `ntopng`."),
		name("table", &r.ClickHouse.Table, "timeseries", "Made when it is missing, with the columns of ntopng's table of this name."),
		option{name: "instance", value: text{to: &r.ClickHouse.Instance}, example: "lyon",
			doc: "The column `ntopng_instance_name`: tells apart what several write into one table."})
	return []namedCase{
		{name: InfluxDBDriver, section: influx, doc: "InfluxDB 1.x and 2.x, written as ntopng does. See [timeseries](timeseries.md#remote-stores)."},
		{name: PrometheusDriver, section: prom, doc: "Prometheus, and what else takes its remote write protocol and answers its queries. See [timeseries](timeseries.md#remote-stores)."},
		{name: ClickHouseDriver, section: click, doc: "ClickHouse over HTTP, in the table of ntopng. See [timeseries](timeseries.md#remote-stores)."},
	}
}

// remoteOptions are those of every kind, with those of one.
func remoteOptions(maxQueue *int64, a *delivery.Access, example, reading string, own ...option) section {
	secret := func(name string, to *string, doc string) option {
		return option{name: name, value: text{to: to, check: filled, expand: true, secret: true}, example: "${STORE_SECRET}", doc: doc}
	}
	file := func(name string, to *string, what, example, doc string) option {
		return option{name: name, value: text{to: to, what: what, check: filled}, example: example, doc: doc}
	}
	options := append([]option{
		{name: "url", value: serverURL{&a.URL}, required: true, example: example, doc: "The server." + reading},
	}, own...)
	return section{options: append(options,
		option{name: "username", value: text{to: &a.Username, check: filled, expand: true}, example: "weir", doc: "Who Weir is to the server."},
		secret("password", &a.Password.Text, "The password of `username`."),
		file("password_file", &a.Password.File, "a file", "/etc/weir/store-password", "A file with the password, instead of `password`. Read for every request."),
		secret("token", &a.Token.Text, "A token for the server, instead of user and password."),
		file("token_file", &a.Token.File, "a file", "/etc/weir/store-token", "A file with the token, instead of `token`. Read for every request."),
		option{name: "tls", value: section{options: []option{
			file("ca", &a.TLS.CA, "a PEM file", "/etc/weir/store-ca.pem", "Certificates that that of the server is checked against, instead of those of the system."),
			file("cert", &a.TLS.Cert, "a PEM file", "/etc/weir/store-cert.pem", "A certificate to show to the server."),
			file("key", &a.TLS.Key, "a PEM file", "/etc/weir/store-key.pem", "The key of the certificate."),
		}}, doc: "Files for `https://`: `ca`, `cert` and `key`, all of them optional."},
		option{name: "max_queue", value: size64{maxQueue}, doc: "What may wait on disk, below `data`, while the server does not take it. What comes when it is full is refused and counted."},
	)}
}

// checkRemote finds options of an entry that are wrong together.
func (w *Driver) checkRemote(d *decoder, path string) {
	a := w.access()
	if a == nil {
		return
	}
	path += "." + w.Kind
	checkAccess(d, path, a)
	if w.Kind == InfluxDBDriver {
		checkInfluxDB(d, path, &w.Remote.InfluxDB)
	}
}

// checkAccess finds what is wrong together in the options about how a server is reached.
func checkAccess(d *decoder, path string, a *delivery.Access) {
	wrong := func(name, reason string) {
		d.complain(path+"."+name, "cannot use "+path+"."+name+": "+reason)
	}
	if a.Password.Text != "" && a.Password.File != "" {
		wrong("password_file", "password is given too; keep one of them")
	}
	if a.Token.Text != "" && a.Token.File != "" {
		wrong("token_file", "token is given too; keep one of them")
	}
	if a.Token != (delivery.Secret{}) && (a.Username != "" || a.Password != (delivery.Secret{})) {
		wrong("token", "username or password is given too; keep the token or them")
	}
	if a.Username == "" && a.Password != (delivery.Secret{}) {
		wrong("password", "it is that of username, which is not given")
	}
	if a.TLS.Cert != "" && a.TLS.Key == "" {
		wrong("tls.cert", "the key is not given")
	}
	if a.TLS.Key != "" && a.TLS.Cert == "" {
		wrong("tls.key", "the certificate is not given")
	}
}

// checkInfluxDB finds what fits neither InfluxDB 1.x nor 2.x.
func checkInfluxDB(d *decoder, path string, i *influxdb.Config) {
	wrong := func(name, reason string) {
		d.complain(path+"."+name, "cannot use "+path+"."+name+": "+reason)
	}
	token := i.Access.Token != (delivery.Secret{})
	switch {
	case i.Bucket != "" && (i.Organization == "" || !token):
		wrong("bucket", "InfluxDB 2.x needs organization, and token or token_file")
	case i.Bucket == "" && i.Organization != "":
		wrong("organization", "it has the bucket, which is not given")
	case i.Bucket == "" && token:
		wrong("token", "InfluxDB 1.x has none; give bucket for 2.x, or username and password")
	}
}

// readDrivers sees whether the files of remote stores can be used now.
func (c *Config) readDrivers() (failed Errors) {
	for i := range c.Timeseries.Write {
		w := &c.Timeseries.Write[i]
		if a := w.access(); a != nil {
			failed = append(failed, c.readAccess(index("timeseries.write", i)+"."+w.Kind, a)...)
		}
	}
	return failed
}

// readAccess sees whether the files of a server can be used now.
func (c *Config) readAccess(path string, a *delivery.Access) (failed Errors) {
	for name, secret := range map[string]delivery.Secret{"password_file": a.Password, "token_file": a.Token} {
		if secret.File == "" {
			continue
		}
		if _, err := readToken(secret.File); err != nil {
			failed = append(failed, c.Fail(path+"."+name, fmt.Errorf("cannot use %s for %s.%s: %s", quote(secret.File), path, name, reason(err))))
		}
	}
	if _, err := a.TLS.Settings(); err != nil {
		failed = append(failed, c.Fail(path+".tls", fmt.Errorf("cannot use %s.tls: %w", path, err)))
	}
	return failed
}

// serverURL is the address of an HTTP server. It may not hold secrets, since it is in messages.
type serverURL struct{ to *string }

const serverForm = "`http://HOST:PORT` or `https://HOST:PORT`, with a path or without"

func (serverURL) kind() string   { return serverForm + ", `${NAME}` for variables of the environment" }
func (v serverURL) yaml() string { return quoted(*v.to) }

func (v serverURL) decode(d *decoder, path string, n ast.Node) {
	if strings.Contains(source(n), "@") {
		d.at(place(n), "cannot use the value of "+path+": user and password do not go there, write them as username and password")
		return
	}
	if strings.Contains(source(n), "?") {
		d.at(place(n), "cannot use the value of "+path+": what follows a \"?\" does not go there")
		return
	}
	text{to: v.to, what: serverForm, expand: true, check: checkServer}.decode(d, path, n)
}

func checkServer(s string) (reason, suggestion string) {
	u, err := url.Parse(s)
	if err == nil && u.User == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") && u.RawQuery == "" && u.Fragment == "" {
		return "", ""
	}
	if reason, _ := hostPort(s); reason == "" {
		suggestion = strconv.Quote("http://" + s)
	}
	return "it must be " + plain(serverForm), suggestion
}
