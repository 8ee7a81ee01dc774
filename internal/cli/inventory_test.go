package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestInventory(t *testing.T) {
	dir := t.TempDir()
	configuration := func(name string) string {
		path := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(path, []byte("data: "+filepath.Join(dir, name)+"\ninventory: {secret: long enough for a test}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	here, there := configuration("here"), configuration("there")
	run := func(code int, config, want string, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := Main(append(append([]string{"inventory"}, args...), "-c", config), &out, &errs); got != code {
			t.Errorf("%q: exit code %d, want %d: %s", args, got, code, &errs)
		}
		if text := out.String() + errs.String(); !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("%q prints\n%s\nwant %s", args, text, want)
		}
		return out.String()
	}
	file := filepath.Join(dir, "inventory.yaml")
	text := `accounts:
- name: Harbour office
  credentials:
  - name: ro
    protocol: snmp
    details: {version: snmpv2c, snmpv12_community: s3cret}
  sensors:
  - {name: load, protocol: snmp, interval: 60, details: {z: 1, a: [x]}}
  bots:
  - name: poller
    protocol: snmp
    permissions:
    - {prefix: "accounts/{account}/values", methods: [POST]}
  entities:
  - name: sw-core
    type: device
    details: {ipv4: 192.0.2.10}
    protocols:
      snmp: {credential: ro, bot: poller, sensors: [{sensor: load, interval: 30}, {sensor: "Traffic IN [bps]"}]}
  - {name: Gi0/1, type: interface, parent: sw-core, details: {snmp_index: "1"}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(0, here, `^6 added, 0 changed\n$`, "import", file)
	run(0, here, `^0 added, 0 changed\n$`, "import", file)
	run(0, here, `(?s)^ID +ACCOUNT +NAME +TYPE +POLLED\n1 +'Harbour office' +sw-core +device +snmp\(2\)\n2 +'Harbour office' +Gi0/1 +interface +-\n$`, "list", "entities")
	run(0, here, `(?s)ID +NAME\n1 +'Harbour office'\n$`, "list")
	run(0, here, `(?m)^\d+ +'Harbour office' +load +snmp +60$`, "list", "sensors")
	run(0, here, `(?m)^\d+ +'Harbour office' +ro +snmp$`, "list", "credentials")

	if got := run(0, here, `(?s)load.*sw-core`, "export"); strings.Contains(got, "s3cret") {
		t.Errorf("secrets are exported: %s", got)
	}
	whole := run(0, here, `s3cret`, "export", "--secrets")
	if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	run(0, there, `added, 0 changed\n$`, "import", file)
	if again := run(0, there, ``, "export", "--secrets"); again != whole {
		t.Errorf("what was imported is exported as\n%s\nwant\n%s", again, whole)
	}
	run(0, here, `^0 added, 0 changed\n$`, "import", file)
	changed := strings.NewReplacer("192.0.2.10", "192.0.2.11", "interval: 60", "interval: 61", "snmpv2c", "snmpv1").Replace(text)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	run(0, here, `^0 added, 3 changed\n$`, "import", file)

	run(0, here, `^2\n$`, "add", "account", "Airport")
	token := run(0, here, `^[0-9a-f-]{36}\n$`, "add", "bot", "all", "--protocol", "ping")
	if again := run(0, here, `^[0-9a-f-]{36}\n$`, "add", "bot", "own", "--account", "Airport"); again == token {
		t.Error("two bots have one token")
	}
	run(0, here, `(?s)- +all +ping\n.*'Harbour office' +poller +snmp\n`, "list", "bots")
	for _, c := range [][]string{
		{`there is no account "Nowhere"`, "add", "bot", "x", "--account", "Nowhere"}, {`an account must have a name`, "add", "account", ""},
	} {
		run(1, here, c[0], c[1:]...)
	}
	run(2, here, `no such file`, "import", filepath.Join(dir, "no"))
	run(2, here, `invalid argument "nothing"`, "list", "nothing")
	if err := os.WriteFile(file, []byte("accounts: [{name: x, more: 1}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(2, here, `(?s)cannot read the inventory: .*unknown field "more"`, "import", file)
	for text, want := range map[string]string{
		"accounts: [{name: x, entities: [{name: e, type: device, parent: no}]}]":                              `account "x": entity "e": there is no entity "no" before it`,
		"accounts: [{name: x, entities: [{name: e, type: d, protocols: {p: {credential: c, sensors: []}}}]}]": `entity "e", protocol p: there is no credential "c"`,
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		run(1, here, want, "import", file)
	}
}
