package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/weirhq/weir/internal/stream"
)

// Stream is where events are kept: the embedded server, or with URL a cluster.
type Stream struct {
	stream.Config           // without Path; Load fills in what is in the files below
	PasswordFile, TokenFile string
	Encrypt                 bool   // to the cluster, also when its URL does not ask for it
	CA, Cert, Key           string // PEM files
}

func defaultStream() Stream {
	return Stream{Config: stream.Config{
		Name: "weir", Replicas: 1, MaxBytes: 8 << 30, MaxAge: 7 * 24 * time.Hour, Sync: time.Second,
	}}
}

func streamSection(c *Stream) section {
	secret := func(name string, to *string, doc string) option {
		return option{name: name, value: text{to: to, check: filled, expand: true, secret: true}, example: "${NATS_SECRET}", doc: doc}
	}
	file := func(name string, to *string, what, example, doc string) option {
		return option{name: name, value: text{to: to, what: what, check: filled}, example: example, doc: doc}
	}
	return section{options: []option{
		{name: "max_size", value: size64{&c.MaxBytes}, doc: "How much disk the events that a connector has not acknowledged may take, below `data` or in the cluster."},
		{name: "max_age", value: duration{to: &c.MaxAge, least: time.Minute, max: 3650 * 24 * time.Hour}, doc: "How long events are kept for a connector that does not take them. What is dropped is counted."},
		{name: "drop_oldest", value: flag{&c.DiscardOld}, doc: "What happens at `max_size`: with `false` pollers are not acknowledged any more and keep their events; with `true` the oldest events go, and are counted."},
		{name: "sync", value: syncing{duration{to: &c.Sync, least: 10 * time.Millisecond, max: time.Hour, off: "at every write"}},
			doc: "How often files are made to survive a power failure, which loses at most the events of this time. The death of Weir alone loses nothing. Not for a cluster, which has its own."},
		{name: "url", value: clusterURL{&c.URL}, example: `"nats://nats-1:4222,nats://nats-2:4222"`,
			doc: "A NATS cluster with JetStream that keeps the events, instead of the server inside Weir."},
		{name: "name", value: text{to: &c.Name, what: "a name of letters, digits, `-` and `_`", check: streamName},
			doc: "What the names of the streams begin with. Each Weir on a cluster needs its own, which stays with it when it moves to another machine."},
		{name: "replicas", value: whole{&c.Replicas, 1, 5}, doc: "How many servers of the cluster hold each event."},
		{name: "user", value: text{to: &c.User, check: filled, expand: true}, example: "weir", doc: "Who Weir is to the cluster."},
		secret("password", &c.Password, "The password of `user`."),
		file("password_file", &c.PasswordFile, "a file", "/etc/weir/nats-password", "A file with the password, instead of `password`."),
		secret("token", &c.Token, "A token for the cluster, instead of user and password."),
		file("token_file", &c.TokenFile, "a file", "/etc/weir/nats-token", "A file with the token, instead of `token`."),
		{name: "tls", value: section{options: []option{
			{name: "required", value: flag{&c.Encrypt}, doc: "Refuse a cluster without TLS. `tls://` in the URL and any of the files below do, too."},
			file("ca", &c.CA, "a PEM file", "/etc/weir/nats-ca.pem", "Certificates that those of the cluster are checked against, instead of those of the system."),
			file("cert", &c.Cert, "a PEM file", "/etc/weir/nats-cert.pem", "A certificate to show to the cluster."),
			file("key", &c.Key, "a PEM file", "/etc/weir/nats-key.pem", "The key of the certificate."),
		}}, doc: "TLS between Weir and the cluster."},
	}}
}

// clusterOptions mean something only with stream.url.
var clusterOptions = []string{"user", "password", "password_file", "token", "token_file", "tls.ca", "tls.cert", "tls.key"}

// checkStream finds options of the stream that are wrong together.
func (c *Config) checkStream(d *decoder) {
	s := &c.Events.Stream
	given := func(name string) bool { _, ok := c.positions["stream."+name]; return ok }
	both := func(one, other string) {
		if given(one) && given(other) {
			d.complain("stream."+other, "cannot use stream."+other+": stream."+one+" is given too; keep one of them")
		}
	}
	both("password", "password_file")
	both("token", "token_file")
	both("user", "token")
	both("user", "token_file")
	if given("user") && !given("password") && !given("password_file") {
		d.complain("stream.user", "cannot use stream.user without a password: give password or password_file")
	}
	for _, name := range []string{"password", "password_file"} {
		if given(name) && !given("user") {
			d.complain("stream."+name, "cannot use stream."+name+" without stream.user")
		}
	}
	if s.Cert != "" && s.Key == "" {
		d.complain("stream.tls.cert", "cannot use stream.tls: cert is given and key is not")
	}
	if s.Key != "" && s.Cert == "" {
		d.complain("stream.tls.key", "cannot use stream.tls: key is given and cert is not")
	}
	if s.URL == "" {
		for _, name := range clusterOptions {
			if given(name) {
				d.complain("stream."+name, "cannot use stream."+name+" without stream.url: it is about a cluster")
			}
		}
		if s.Replicas > 1 {
			d.complain("stream.replicas", "cannot use stream.replicas without stream.url: there is one server, inside Weir")
		}
		if s.Encrypt {
			d.complain("stream.tls.required", "cannot use stream.tls.required without stream.url: it is about a cluster")
		}
	} else if given("sync") {
		d.complain("stream.sync", "cannot use stream.sync with stream.url: the servers of the cluster have their own sync_interval")
	}
}

// readStream reads the files of the stream.
func (c *Config) readStream() (failed Errors) {
	s := &c.Events.Stream
	for _, f := range []struct {
		name, path string
		to         *string
	}{{"password_file", s.PasswordFile, &s.Password}, {"token_file", s.TokenFile, &s.Token}} {
		if f.path == "" {
			continue
		}
		secret, err := readToken(f.path)
		if err != nil {
			failed = append(failed, c.Fail("stream."+f.name, fmt.Errorf("cannot use %s for stream.%s: %s", quote(f.path), f.name, reason(err))))
		}
		*f.to = secret
	}
	if !s.Encrypt && s.CA == "" && s.Cert == "" {
		return failed
	}
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA)
		s.TLS.RootCAs = x509.NewCertPool()
		if err == nil && !s.TLS.RootCAs.AppendCertsFromPEM(pem) {
			err = errors.New("the file has no certificate in PEM form")
		}
		if err != nil {
			failed = append(failed, c.Fail("stream.tls.ca", fmt.Errorf("cannot use %s for stream.tls.ca: %s", quote(s.CA), reason(err))))
		}
	}
	if s.Cert != "" {
		pair, err := tls.LoadX509KeyPair(s.Cert, s.Key)
		if err != nil {
			failed = append(failed, c.Fail("stream.tls.cert", fmt.Errorf("cannot use the certificate %s with the key %s: %w", quote(s.Cert), quote(s.Key), err)))
		}
		s.TLS.Certificates = []tls.Certificate{pair}
	}
	return failed
}

// clusterURL are the addresses of a cluster. They may not hold secrets, since they are in messages.
type clusterURL struct{ to *string }

const clusterForm = "`nats://HOST:PORT` or `tls://HOST:PORT`, or several with commas between"

func (clusterURL) kind() string   { return clusterForm + ", `${NAME}` for variables of the environment" }
func (v clusterURL) yaml() string { return quoted(*v.to) }

func (v clusterURL) decode(d *decoder, path string, n ast.Node) {
	if strings.Contains(source(n), "@") {
		d.at(place(n), "cannot use the value of "+path+": user and password do not go there, write them as stream.user and stream.password")
		return
	}
	text{to: v.to, what: clusterForm, expand: true, check: checkCluster}.decode(d, path, n)
}

func checkCluster(s string) (reason, suggestion string) {
	for _, one := range strings.Split(s, ",") {
		one = strings.TrimSpace(one)
		u, err := url.Parse(one)
		if err == nil && u.User == nil && u.Host != "" && slices.Contains([]string{"nats", "tls"}, u.Scheme) {
			continue
		}
		if reason, _ := hostPort(one); reason == "" && !strings.Contains(s, ",") {
			suggestion = strconv.Quote("nats://" + one)
		}
		return "it must be " + plain(clusterForm), suggestion
	}
	return "", ""
}

var streamNames = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func streamName(s string) (reason, suggestion string) {
	if !streamNames.MatchString(s) {
		return "it must be 1 to 64 letters, digits, - or _", ""
	}
	return "", ""
}

// syncing is a duration of which 0 becomes negative, as stream.Config has it.
type syncing struct{ duration }

func (v syncing) yaml() string { return FormatDuration(max(*v.to, 0)) }

func (v syncing) decode(d *decoder, path string, n ast.Node) {
	v.duration.decode(d, path, n)
	if *v.to == 0 {
		*v.to = -1
	}
}
