package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStream(t *testing.T) {
	t.Setenv("NATS_TOKEN", "hush")
	f := func(text string, check func(s Stream) bool) {
		t.Helper()
		if s := parsed(t, "stream: {"+text+"}").Events.Stream; !check(s) {
			t.Errorf("%s: %+v", text, s)
		}
	}
	f("max_size: 1000GB, max_age: 30d, drop_oldest: true", func(s Stream) bool {
		return s.MaxBytes == 1e12 && s.MaxAge == 30*24*time.Hour && s.DiscardOld && s.Sync == time.Second && s.Name == "weir" && s.Replicas == 1
	})
	f("sync: 0s", func(s Stream) bool { return s.Sync == -1 })
	f("sync: 100ms", func(s Stream) bool { return s.Sync == 100*time.Millisecond })
	f(`url: "nats://a:4222, tls://b:4222", name: weir-2, replicas: 3, token: "${NATS_TOKEN}"`, func(s Stream) bool {
		return s.URL == "nats://a:4222, tls://b:4222" && s.Config.Name == "weir-2" && s.Replicas == 3 && s.Token == "hush"
	})
	f(`url: "nats://a:4222", user: me, password: pw`, func(s Stream) bool { return s.User == "me" && s.Password == "pw" })
}

func TestStreamMistakes(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := Parse("weir.yaml", []byte("stream: {"+text+"}"))
		if err == nil || err.Error() != "weir.yaml:1:"+want {
			t.Errorf("%s\nerror %v\nwant  weir.yaml:1:%s", text, err, want)
		}
	}
	const form = "it must be nats://HOST:PORT or tls://HOST:PORT, or several with commas between"
	f(`url: "a:4222"`, `15: cannot use "a:4222" for stream.url: `+form+`; did you mean "nats://a:4222"?`)
	f(`url: "http://a"`, `15: cannot use "http://a" for stream.url: `+form)
	f(`url: "nats://a:1,b"`, `15: cannot use "nats://a:1,b" for stream.url: `+form)
	f(`url: 4222`, `15: cannot use "4222" for stream.url: it must be nats://HOST:PORT or tls://HOST:PORT, or several with commas between, not a number`)
	f(`url: "nats://me:s3cret@a:4222"`, "15: cannot use the value of stream.url: user and password do not go there, write them as stream.user and stream.password")
	f(`name: "a.b"`, `16: cannot use "a.b" for stream.name: it must be 1 to 64 letters, digits, - or _`)
	f(`replicas: 3`, "20: cannot use stream.replicas without stream.url: there is one server, inside Weir")
	f(`token: x`, "17: cannot use stream.token without stream.url: it is about a cluster")
	f(`tls: {required: true}`, "26: cannot use stream.tls.required without stream.url: it is about a cluster")
	f(`url: "nats://a", sync: 1s`, "33: cannot use stream.sync with stream.url: the servers of the cluster have their own sync_interval")
	f(`url: "nats://a", user: me`, "33: cannot use stream.user without a password: give password or password_file")
	f(`url: "nats://a", password: s3cret`, "37: cannot use stream.password without stream.user")
	f(`url: "nats://a", token: s3cret, token_file: x`, "54: cannot use stream.token_file: stream.token is given too; keep one of them")
	f(`url: "nats://a", tls: {cert: x}`, "39: cannot use stream.tls: cert is given and key is not")
	f(`max_age: 1s`, `19: cannot use "1s" for stream.max_age: it must be 1m to 3650d; did you mean "1m"?`)
	f(`sync: 1`, `16: cannot use "1" for stream.sync: a duration is a number with a unit, such as 10s, 1m30s or 7d; did you mean "1s"?`)
	f(`max_size: big`, `20: cannot use "big" for stream.max_size: a size is a number with a unit, such as 512KiB, 64MiB or 1GB`)
	f(`syncc: 1s`, `10: cannot use the key "syncc": stream has no such key; did you mean "sync"?`)

	dir := t.TempDir()
	path := filepath.Join(dir, "weir.yaml")
	load := func(text, want string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(`stream: {url: "nats://a", `+text+"}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", text, err, want)
		}
	}
	load("token_file: /no/such", `cannot use "/no/such" for stream.token_file: no such file or directory`)
	load("tls: {ca: /no/such}", `cannot use "/no/such" for stream.tls.ca: no such file or directory`)
	load("tls: {ca: "+path+"}", "the file has no certificate in PEM form")
	load("tls: {cert: /no/such, key: /no/such}", `cannot use the certificate "/no/such"`)
}
