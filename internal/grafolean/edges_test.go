package grafolean

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMillionValues posts a million values at once, in both forms: none is stored. As many as a request
// may have are stored whole.
func TestMillionValues(t *testing.T) {
	f := newFixture(t)
	_, token := f.bot("null", everything)
	path := f.in(f.first, "/values/")
	stored := func(name string) bool {
		return strings.Contains(f.do(token, "GET", f.in(f.first, "/values/"+name), "").Body.String(), fmt.Sprintf(`"t":%d`, noon))
	}
	post := func(n, status int, form, begin, end string) {
		t.Helper()
		var body strings.Builder
		for i := range n {
			fmt.Fprintf(&body, form, i)
		}
		if w := f.do(token, "POST", path, begin+body.String()[1:]+end); w.Code != status {
			t.Errorf("%d values: %d %.200s, want %d", n, w.Code, w.Body, status)
		}
		for _, i := range []int{0, n / 2, n - 1} {
			if stored(fmt.Sprintf("a.%d", i)) != (status == 204) {
				t.Errorf("%d values were answered %d, and value %d has the wrong fate", n, status, i)
			}
		}
	}
	post(1_000_000, 413, `,"a.%d":1`, "{", "}")
	post(1_000_000, 413, `,{"p":"a.%d","v":1}`, "[", "]")
	post(maxItems, 204, `,"a.%d":1`, "{", "}")
}

// TestEdges has cases of section 8 that nothing else has.
func TestEdges(t *testing.T) {
	f := newFixture(t)
	_, token := f.bot("null", fmt.Sprintf(`{"resource_prefix":"accounts/%d","methods":null}`, f.first))
	values := f.in(f.first, "/values")
	// HEAD is GET without a body
	get, head := f.do(token, "GET", f.in(f.first, "/entities"), ""), f.do(token, "HEAD", f.in(f.first, "/entities"), "")
	if get.Code != 200 || head.Code != 200 || get.Header().Get("Content-Type") != head.Header().Get("Content-Type") {
		t.Errorf("HEAD: %d %v, GET: %d %v", head.Code, head.Header(), get.Code, get.Header())
	}
	// a bot that posts for another account
	f.want(403, token, "POST", f.in(f.second, "/values"), `{"a.b":1}`, "")
	// bodies that are no values, values that are no numbers, and a path among good ones that is none
	for _, bad := range []string{"null", "5", `"x"`, `{"a":"0x10"}`, `{"a":"1_000"}`, `{"a":null}`, `{"good":1,"b d":2}`} {
		f.want(400, token, "POST", values, bad, "")
	}
	if w := f.do(token, "POST", values, `{"good":1,"b d":2}`); !strings.Contains(w.Body.String(), "b d") {
		t.Error("the path is not named:", w.Body)
	}
	if w := f.do(token, "GET", values+"/good", ""); strings.Contains(w.Body.String(), fmt.Sprintf(`"t":%d`, noon)) {
		t.Error("a part of a bad batch is stored:", w.Body)
	}
	f.want(204, token, "POST", values, `{"a":" 1.5 "}`, "")
	// a session that has ended, and a clock that is set back
	f.clock -= 3600
	f.want(200, f.root, "GET", "/api/bots", "", "")
	f.clock = noon + int64(30*24*time.Hour/time.Second)
	f.want(401, f.root, "GET", "/api/bots", "", "")
}
