package config

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/internal/connector"
)

// The block of specification 1.2.
const output = `{ "name": "splunk", "type": "lua", "path": "/usr/share/centreon-broker/lua/splunk-events-apiv2.lua",
  "filters": { "category": ["neb", "bam"] }, "cache_directory": "/var/lib/centreon-broker",
  "lua_parameter": [ {"type":"string","name":"splunk_token","value":"abc"},
                     {"type":"number","name":"max_buffer_size","value":"10"},
                     {"type":"password","name":"pw","value":"s3cret"} ],
  "buffering_timeout": 0, "read_timeout": -1, "retry_interval": 15 }`

var imported = setup("splunk", "/usr/share/centreon-broker/lua/splunk-events-apiv2.lua", []string{"neb", "bam"},
	connector.Parameter{Name: "splunk_token", Text: "abc"}, connector.Parameter{Name: "max_buffer_size", Number: 10, Numeric: true}, connector.Parameter{Name: "pw", Text: "s3cret", Secret: true})

// setup is that of a connector of which nothing else is given.
func setup(name, script string, categories []string, parameters ...connector.Parameter) connector.Setup {
	s := newConnector().Setup
	s.Name, s.Script, s.Categories, s.Parameters = name, script, categories, parameters
	return s
}

func TestPastedOutput(t *testing.T) {
	f := func(text string, want connector.Setup, warnings ...string) {
		t.Helper()
		c := parsed(t, text)
		if diff := cmp.Diff(want, c.Events.Connectors[0].Setup); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
		var got []string
		for _, w := range c.Warnings {
			got = append(got, w.Error())
		}
		if diff := cmp.Diff(warnings, got); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	f("connectors:\n- "+output, imported)
	changed := imported
	changed.BBDO, changed.Queue = "2.0.0", 7
	f("connectors: ["+strings.Replace(output, `"name"`, `bbdo_version: 2.0.0, "queue_size": 7, "name"`, 1)+"]", changed)

	one := func(parameters string) string {
		return `connectors: [{"name": "a", "type": "lua", "path": "a.lua", "lua_parameter": ` + parameters + `}]`
	}
	setup := func(p ...connector.Parameter) connector.Setup { return setup("a", "a.lua", nil, p...) }
	number := func(n float64) connector.Parameter { return connector.Parameter{Name: "n", Number: n, Numeric: true} }
	f(one(`{"type": "", "name": "n", "value": "x"}`), setup(connector.Parameter{Name: "n", Text: "x"}))
	for text, want := range map[string]float64{`"-42"`: -42, `42`: 42, `"3.25"`: 3.25, `3.25`: 3.25, `"9007199254740992"`: 1 << 53, `9007199254740992`: 1 << 53, `"1e3"`: 1000} {
		f(one(`{"type": "number", "name": "n", "value": `+text+`}`), setup(number(want)))
		f(one(`[{"type": "number", "name": "n", "value": `+text+`}]`), setup(number(want)))
	}
	f(one(`[{"type": "bool", "name": "n", "value": "x"}, {"type": "number", "name": "n", "value": "1"}, {"type": "string", "name": "n", "value": "hush"}]`), setup(number(1)),
		`weir.yaml:1:78: connectors[0]: the parameter 'n' is left out: its type "bool" is none of string, number and password`,
		`weir.yaml:1:170: connectors[0]: the parameter 'n' is given twice: the first one is used`)
	want := setup()
	want.Categories = []string{"neb"}
	f(`connectors: [{name: a, type: lua, path: a.lua, filters: {category: [neb, nonsense]}}]`, want,
		`weir.yaml:1:57: connectors[0]: unknown categories are left out: ["nonsense"]; the others count`)
	want.Categories = []string{}
	f(`connectors: [{name: a, type: lua, path: a.lua, filters: {category: nonsense}}]`, want,
		`weir.yaml:1:57: connectors[0]: unknown categories are left out: ["nonsense"]; none is left, so everything passes`)
}

func TestMistakesOfOutputs(t *testing.T) {
	f := func(members, want string) {
		t.Helper()
		_, err := Parse("weir.yaml", []byte(`connectors: [{"name": "a", "type": "lua", `+members+`}]`))
		if err == nil || err.Error() != "weir.yaml:1:"+want {
			t.Errorf("%s\nerror %v\nwant  weir.yaml:1:%s", members, err, want)
		}
	}
	parameter := func(p string) string { return `"path": "a.lua", "lua_parameter": [` + p + `]` }
	f(`"lua_parameter": []`, "14: cannot use connectors[0]: lua: no 'path' defined for endpoint 'a'")
	f(parameter(`{"name": "", "type": "string", "value": "s3cret"}`), "78: cannot use connectors[0]: lua: couldn't read a configuration field because its name is empty")
	f(parameter(`{"type": "string", "value": "s3cret"}`), `78: cannot use connectors[0]: the member "name" of lua_parameter[0] is missing or is not text`)
	f(parameter(`{"name": "p", "type": "password", "value": 5}`), `78: cannot use connectors[0]: the member "value" of lua_parameter[0] is missing or is not text`)
	f(parameter(`{"name": "p", "type": "number", "value": ""}`), "78: cannot use connectors[0]: lua: unable to read 'p' content () as a number")
	f(parameter(`{"name": "p", "type": "number", "value": "0x10"}`), "78: cannot use connectors[0]: lua: unable to read 'p' content (0x10) as a number")
	f(parameter(`7`), `78: cannot use connectors[0]: lua_parameter[0] must be a mapping such as {"type": "string", "name": "a", "value": "b"}`)
	f(`"path": "a.lua", "filters": "neb"`, `71: cannot use connectors[0]: filters must be a mapping such as {"category": ["neb"]}`)
	f(`"path": "a.lua", "lua_paramter": []`, `60: cannot use the key "lua_paramter": connectors[0] has no such key; did you mean "lua_parameter"?`)
}

func TestBrokerFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	central := write("central.json", `{"centreonBroker": {"broker_id": 1, "event_queue_max_size": 100000, "output": [
	{"name": "sql", "type": "unified_sql", "db_password": "s3cret"}, `+output+`]}}`)
	load := func(entry string) (*Config, error) {
		return Load(write("weir.yaml", "connectors:\n- "+strings.ReplaceAll(entry, "DIR", dir)))
	}
	f := func(entry string, want connector.Setup) {
		t.Helper()
		c, err := load(entry)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, c.Events.Connectors[0].Setup); diff != "" {
			t.Errorf("%s\n%s", entry, diff)
		}
	}
	want := imported
	want.Queue = 100_000
	f("{name: splunk, broker_file: "+central+"}", want)
	write("one.json", output)
	want.Name, want.Queue, want.Script, want.Categories = "two", 5, "other.lua", []string{"storage"}
	want.Parameters = append([]connector.Parameter{{Name: "pw", Text: "other"}}, imported.Parameters[:2]...)
	f("{name: two, broker_output: splunk, broker_file: DIR/one.json, queue_size: 5, script: other.lua, categories: [storage], parameters: {pw: other}}", want)

	bad := func(entry, want string) {
		t.Helper()
		_, err := load(entry)
		if err == nil || strings.Contains(err.Error(), "s3cret") || strings.ReplaceAll(err.Error(), dir+"/", "") != "weir.yaml:2:"+want {
			t.Errorf("%s\nerror %v\nwant  weir.yaml:2:%s", entry, err, want)
		}
	}
	bad("{name: splnk, broker_file: DIR/central.json}", `30: cannot use "central.json" for connectors[0].broker_file: it has no output "splnk" of type "lua"; those it has are "splunk"`)
	bad("{name: a, broker_file: DIR/none.json}", `26: cannot use "none.json" for connectors[0].broker_file: no such file or directory`)
	write("sql.json", `{"centreonBroker": {"output": {"name": "sql", "type": "sql", "db_password": "s3cret"}}}`)
	bad("{name: sql, broker_file: DIR/sql.json}", `28: cannot use "sql.json" for connectors[0].broker_file: it has no output of type "lua"`)
	write("broken.json", "{\n\"a\": s3cret\n}")
	bad("{name: a, broker_file: DIR/broken.json}", `26: cannot use "broken.json" for connectors[0].broker_file: line 2 is not JSON: invalid character 's' looking for beginning of value`)
	write("bad.json", `{"output": {"name": "a", "type": "lua", "path": "x", "lua_parameter": {"name": "p", "type": "number", "value": "ten"}}}`)
	bad("{name: a, broker_file: DIR/bad.json}", `26: in the output "a" of "bad.json": lua: unable to read 'p' content (ten) as a number`)
	bad("{name: a, broker_output: b, script: x}", `28: cannot use connectors[0].broker_output without broker_file`)
}

// sealed encrypts as Centreon does.
func sealed(t *testing.T, k *secretKey, clear string) string {
	t.Helper()
	block, err := aes.NewCipher(k.app)
	if err != nil {
		t.Fatal(err)
	}
	iv := []byte("0123456789abcdef")
	n := aes.BlockSize - len(clear)%aes.BlockSize
	body := []byte(clear + strings.Repeat(string(rune(n)), n))
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(body, body)
	return encrypted + base64.StdEncoding.EncodeToString(append(append(iv, k.sum(body)...), body...))
}

func TestEncrypted(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	k := &secretKey{app: []byte("an app secret of thirty-two byte"), salt: []byte("a salt")}
	key := write("key.json", fmt.Sprintf(`{"app_secret": %q, "salt": %q}`, base64.StdEncoding.EncodeToString(k.app), base64.StdEncoding.EncodeToString(k.salt)))
	secret := sealed(t, k, "s3cret")
	for _, clear := range []string{"", "s3cret", "exactly sixteen!", strings.Repeat("long", 100)} {
		if got, err := k.decrypt(strings.TrimPrefix(sealed(t, k, clear), encrypted)); err != nil || got != clear {
			t.Errorf("got %q, %v, want %q", got, err, clear)
		}
	}
	load := func(text string) (*Config, error) {
		return Load(write("weir.yaml", "broker: {key_file: "+key+"}\nconnectors: "+text))
	}
	pasted := `[{"name": "a", "type": "lua", "path": "x", "lua_parameter": [{"type": "password", "name": "pw", "value": "` + secret + `"}]}]`
	for _, text := range []string{`[{name: a, script: x, parameters: {pw: "` + secret + `"}}]`, `[{name: a, script: x, parameters: {pw: {file: ` + write("pw", secret) + `}}}]`, pasted} {
		c, err := load(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]connector.Parameter{{Name: "pw", Text: "s3cret", Secret: true}}, c.Events.Connectors[0].Parameters); diff != "" {
			t.Errorf("%s\n%s", text, diff)
		}
	}
	bad := func(text, want string) {
		t.Helper()
		_, err := Load(write("weir.yaml", text))
		if err == nil || strings.ReplaceAll(err.Error(), dir+"/", "") != want {
			t.Errorf("%s\nerror %v\nwant  %s", text, err, want)
		}
	}
	bad("connectors: "+pasted, "weir.yaml:1:74: cannot use connectors[0].parameters.pw: lua: unable to decrypt pw, no encryption key file available; broker.key_file says where it is")
	with := func(file, value string) string {
		return "broker: {key_file: " + file + "}\nconnectors: [{name: a, script: x, parameters: {pw: \"" + value + "\"}}]"
	}
	const refused = "weir.yaml:2:48: cannot use connectors[0].parameters.pw: lua: unable to decrypt pw: The content is not AES256 encrypted"
	bad(with(key, "encrypt::hush"), refused)
	bad(with(key, secret[:len(secret)-8]), refused)
	bad(with(key, secret[:len(secret)-9]+"+"+secret[len(secret)-8:]), refused)
	other := &secretKey{app: k.app, salt: []byte("other salt")}
	bad(with(key, sealed(t, other, "hush")), refused)
	const wrong = `weir.yaml:1:20: cannot use "wrong" for broker.key_file: `
	bad(with(write("wrong", "app_secret: x"), secret), wrong+`the file is not JSON like {"app_secret": "...", "salt": "..."}`)
	write("wrong", `{"app_secret": "aHVzaA=="}`)
	bad(with(dir+"/wrong", secret), wrong+`its member "salt" is missing or is not base64`)
	write("wrong", `{"app_secret": "aHVzaA==", "salt": "aHVzaA=="}`)
	bad(with(dir+"/wrong", secret), wrong+`its member "app_secret" is a key of 4 bytes, and must be one of 32`)
}

// No mistake quotes what may be a secret.
func TestSecretsInMistakes(t *testing.T) {
	f := func(parameters string) {
		t.Helper()
		_, err := Parse("weir.yaml", []byte("connectors: [{name: a, script: x, parameters: "+parameters+"}]"))
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", parameters, err)
		}
	}
	f("s3cret")
	f("[s3cret]")
	f("{a: [s3cret]}")
	f(`{a: "s3cret${NONE}"}`)
	f("{a: s3cret, a: s3cret}")
	f("{'': s3cret}")
}
