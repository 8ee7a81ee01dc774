package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// Several slashes are one below /api, with the method and the query as they were, and nowhere else.
func TestCollapse(t *testing.T) {
	var got string
	h := collapse(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Method + " " + r.URL.String() }))
	for target, want := range map[string]string{
		"//api/accounts//1///values//?b=x": "/api/accounts/1/values/?b=x", "/api/values/a%252eb": "/api/values/a%252eb",
		"/api//values/a%252eb": "/api/values/a%252eb", "/ui//x": "/ui//x",
	} {
		r := httptest.NewRequest("POST", "/", nil)
		u, err := r.URL.Parse("http://weir" + target)
		if err != nil {
			t.Fatal(err)
		}
		u.Scheme, u.Host = "", ""
		r.URL = u
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got != "POST "+want {
			t.Errorf("%s is %s, want %s", target, got, want)
		}
	}
}
