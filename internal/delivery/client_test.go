package delivery

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestClient(t *testing.T) {
	const secret = "s3cret"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			user, password, _ := r.BasicAuth()
			body, _ := io.ReadAll(r.Body)
			io.WriteString(w, user+" "+password+" "+r.Header.Get("Authorization")+" "+r.FormValue("q")+string(body))
		case "/400":
			http.Error(w, "bad \xff line", 400)
		case "/429":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		case "/503":
			w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			w.WriteHeader(503)
		case "/401":
			w.WriteHeader(401)
		case "/302":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/long":
			w.WriteHeader(500)
			io.WriteString(w, strings.Repeat("x", 100_000))
		case "/cut":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "ten bytes.")
		}
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(" "+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := NewClient(Access{URL: server.URL + "/", Username: "weir", Password: Secret{File: file}})
	read := func(r Request) string {
		t.Helper()
		response, err := c.Do(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := read(Request{Path: "/ok", Query: map[string][]string{"q": {"a b&c"}}, Method: "POST", Body: []byte("body")}); !strings.HasPrefix(got, "weir "+secret+" Basic ") || !strings.HasSuffix(got, " a b&cbody") {
		t.Errorf("got %q", got)
	}
	for path, want := range map[string]string{
		"/401":  "401 Unauthorized: \"401 Unauthorized\"; look at the name, password or token in the configuration",
		"/302":  "answers 302 Found",
		"/long": "answers 500 Internal Server Error: \"xxx",
	} {
		err := c.Ask(t.Context(), Request{Path: path, Query: map[string][]string{"q": {"SELECT"}}})
		if err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 3000 || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got %v", path, err)
		}
	}
	var rejected *Rejected
	if err := c.Ask(t.Context(), Request{Path: "/400"}); !errors.As(err, &rejected) || rejected.Reason != "bad ? line" {
		t.Errorf("got %v", err)
	}
	var later *Later
	if err := c.Ask(t.Context(), Request{Path: "/429"}); !errors.As(err, &later) || later.After != 7*time.Second {
		t.Errorf("got %v", err)
	}
	if err := c.Ask(t.Context(), Request{Path: "/503"}); !errors.As(err, &later) || later.After < 50*time.Minute || later.After > time.Hour {
		t.Errorf("got %v", err)
	}
	response, err := c.Do(t.Context(), Request{Path: "/cut"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(response.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an answer that is cut off: %v", err)
	}
	response.Body.Close()
	long := &bounded{body: io.NopCloser(strings.NewReader("0123456789")), left: 4}
	if text, err := io.ReadAll(long); string(text) != "0123" || !errors.Is(err, errLong) {
		t.Errorf("got %q, %v", text, err)
	}

	c = NewClient(Access{URL: server.URL, Token: Secret{Text: "t0ken"}, Scheme: "Token"})
	if got := read(Request{Path: server.URL + "/ok", Form: map[string][]string{"q": {"x"}}, Method: "POST"}); got != "  Token t0ken q=x" {
		t.Errorf("got %q", got)
	}
	server.Close()
	err = c.Ask(context.Background(), Request{Path: "/ok", Query: map[string][]string{"q": {"long question"}}})
	if err == nil || !strings.Contains(err.Error(), "cannot reach "+server.URL) || strings.Contains(err.Error(), "question") {
		t.Errorf("got %v", err)
	}
	c = NewClient(Access{URL: server.URL, Token: Secret{File: "/nothing/here"}, Scheme: "Token"})
	if err := c.Ask(t.Context(), Request{Path: "/ok"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "99999999999999": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: got %v, want %v", header, got, want)
		}
	}
}

func TestTLSFiles(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range []TLS{{CA: "/nothing/here"}, {CA: empty}, {Cert: empty, Key: empty}} {
		if err := NewClient(Access{URL: "https://127.0.0.1", TLS: files}).Ask(t.Context(), Request{}); err == nil || !strings.Contains(err.Error(), "cannot ") {
			t.Errorf("%+v is taken", files)
		}
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	c := NewClient(Access{URL: server.URL})
	if err := c.Ask(t.Context(), Request{Path: "/"}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody is taken: %v", err)
	}
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := NewClient(Access{URL: server.URL, TLS: TLS{CA: authority}}).Ask(t.Context(), Request{Path: "/"}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("the certificate of an authority that is trusted: %v", err)
	}
}
