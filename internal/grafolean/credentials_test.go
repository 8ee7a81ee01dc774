package grafolean

import (
	"fmt"
	"testing"
)

// TestCredentialsOfBots: a bot that may not change credentials reads those with which it polls, and no others (section 8).
func TestCredentialsOfBots(t *testing.T) {
	f := newFixture(t)
	reads := `{"resource_prefix":"accounts","methods":["GET","POST"]}`
	poller, token := f.bot(`"snmp"`, reads)
	other, otherToken := f.bot(`"snmp"`, reads)
	_, pinger := f.bot(`"ping"`, reads)
	_, custom := f.bot("null", reads)
	_, trusted := f.bot(`"snmp"`, everything)
	add := func(name string) int64 {
		return f.made("POST", f.in(f.first, "/credentials/"), `{"name":"`+name+`","protocol":"snmp","details":{"snmpv12_community":"of `+name+`"}}`)
	}
	own, theirs, shared, unused := add("own"), add("theirs"), add("shared"), add("unused")
	load := f.made("POST", f.in(f.first, "/sensors/"), `{"name":"load","protocol":"snmp","default_interval":60,"details":{}}`)
	device := func(credential int64, bot string) {
		f.made("POST", f.in(f.first, "/entities/"), fmt.Sprintf(`{"name":"of %d","entity_type":"device","details":{},"protocols":{"snmp":{"credential":%d,"bot":%s,"sensors":[{"sensor":%d,"interval":null}]}}}`, credential, credential, bot, load))
	}
	device(own, fmt.Sprint(poller))
	device(theirs, fmt.Sprint(other))
	gone, _ := f.bot(`"snmp"`, reads)
	device(shared, fmt.Sprint(gone))
	f.want(204, f.root, "DELETE", fmt.Sprintf("/api/bots/%d", gone), "", "") // and every bot of the protocol takes its devices
	for _, c := range []struct {
		who, token string
		reads      []int64
	}{
		{"poller", token, []int64{own, shared}},
		{"other", otherToken, []int64{theirs, shared}},
		{"pinger", pinger, nil},
		{"custom", custom, []int64{shared}},
		{"trusted", trusted, []int64{own, theirs, shared, unused}},
	} {
		list, comma := `{"list":[`, ""
		for _, id := range []int64{own, theirs, shared, unused} {
			name := map[int64]string{own: "own", theirs: "theirs", shared: "shared", unused: "unused"}[id]
			one := fmt.Sprintf(`{"id":%d,"name":"%s","protocol":"snmp","details":{"snmpv12_community":"of %s"}}`, id, name, name)
			path, reads := f.in(f.first, fmt.Sprintf("/credentials/%d", id)), false
			for _, r := range c.reads {
				reads = reads || r == id
			}
			if w := f.do(c.token, "GET", path, ""); reads && (w.Code != 200 || w.Body.String() != one) || !reads && w.Code != 404 {
				t.Errorf("%s, %s: %d %s", c.who, name, w.Code, w.Body)
			}
			if reads {
				list, comma = list+comma+one, ","
			}
		}
		if c.token != trusted { // which sees those that every account has as well
			f.want(200, c.token, "GET", f.in(f.first, "/credentials"), "", list+"]}")
		}
	}
}
