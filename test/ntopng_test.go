package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The worked example of the timeseries contract (section 5.3), through the binary: points
// written by a client, answers read in both versions byte for byte after their keys are
// sorted, and again after a restart. Who shows no token gets nothing.
func TestNtopngEndpoints(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "weir.yaml", `
data: data
http: {listen: "127.0.0.1:0", token: s3cret}
timeseries: {retention: 36500d}
sources: {}
`)
	p := daemonOf(t, dir)
	var lines strings.Builder
	for i := range 6 {
		for protocol, factor := range map[string]int{"DNS": 1, "TLS": 10} {
			fmt.Fprintf(&lines, "host:ndpi,ifid=1,host=10.0.0.9,protocol=%s bytes_sent=%d,bytes_rcvd=%d %d\n", protocol, factor*3000*i, factor*6000*i, 1795310100+300*i)
		}
	}
	send := func(method, path, body, authorization string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, p.http+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if method == http.MethodPost {
			request.Header.Set("Content-Type", "application/json")
		}
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	if code, body := send("POST", "/write?precision=s", lines.String(), "Token s3cret"); code != http.StatusNoContent {
		t.Fatal(code, body)
	}
	const (
		v2       = "/lua/rest/v2/get/timeseries/ts.lua"
		v1       = "/lua/rest/v1/get/timeseries/ts.lua"
		oldest   = "/lua/rest/get/timeseries/ts.lua"
		question = "ts_schema=host:ndpi&ts_query=ifid:1,host:10.0.0.9,protocol:DNS&epoch_begin=1795310100&epoch_end=1795311600&limit=10"
	)
	check := func() {
		t.Helper()
		for path, file := range map[string]string{v2 + "?" + question: "whole_v2", v1 + "?" + question: "whole_v1", oldest + "?" + question: "whole_v1",
			v2 + "?" + strings.Replace(strings.Replace(question, ",protocol:DNS", "", 1), "host:ndpi", "top:host:ndpi", 1): "whole_top"} {
			want, err := os.ReadFile("../internal/ntopng/testdata/" + file + ".json")
			if err != nil {
				t.Fatal(err)
			}
			code, body := send("GET", path, "", "Bearer s3cret")
			if diff := cmp.Diff(sortedJSON(t, string(want)), sortedJSON(t, body)); code != http.StatusOK || diff != "" {
				t.Errorf("%s: %d %s", path, code, diff)
			}
		}
	}
	check()
	body := `{"ts_schema":"host:ndpi","ts_query":"ifid:1,host:10.0.0.9,protocol:DNS","epoch_begin":1795310100,"epoch_end":1795311600,"limit":10}`
	_, got := send("GET", v2+"?"+question, "", "Token s3cret")
	if code, posted := send("POST", v2, body, "Basic YWRtaW46czNjcmV0"); code != http.StatusOK || posted != got { // admin:s3cret
		t.Errorf("a POST is answered otherwise than a GET: %d %s", code, posted)
	}
	for _, authorization := range []string{"", "Token wrong", "Basic YWRtaW46YWRtaW4="} {
		if code, body := send("GET", v2+"?"+question, "", authorization); code != http.StatusUnauthorized || strings.Contains(body, "bytes_sent") {
			t.Errorf("with %q: %d %s", authorization, code, body)
		}
	}
	p.token = "s3cret"
	if err := p.balanced(); err != nil {
		t.Error(err)
	}
	if code, err := p.end(syscall.SIGTERM); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	p = daemonOf(t, dir)
	check()
}

// daemonOf starts weir with the weir.yaml of dir; it is killed at the end of the test.
func daemonOf(t *testing.T, dir string) *process {
	t.Helper()
	p, err := run(dir, environment(), "run", "-c", "weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// sortedJSON is a text with its keys sorted and its numbers as they are written.
func sortedJSON(t *testing.T, text string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
