package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const testSecret = "a secret that is long enough"

func open(t *testing.T, path string) *Inventory {
	t.Helper()
	in := New(Config{Path: path, Secret: testSecret}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { in.Close() })
	return in
}

func fresh(t *testing.T) *Inventory { return open(t, filepath.Join(t.TempDir(), "inventory.db")) }

// must returns what a function returns that cannot fail here.
func must[T any](t *testing.T) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func text(t *testing.T, value any) string {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func ptr[T any](v T) *T { return &v }

func TestAccounts(t *testing.T) {
	in := fresh(t)
	ctx, id := t.Context(), must[int64](t)
	if any, err := in.HasUsers(ctx); any || err != nil || in.Exists() {
		t.Error("an inventory that was asked nothing exists", any, err)
	}
	b, a := id(in.AddAccount(ctx, "b")), id(in.AddAccount(ctx, "a"))
	if got := must[[]Account](t)(in.Accounts(ctx)); !cmp.Equal(got, []Account{{a, "a"}, {b, "b"}}) {
		t.Error(got)
	}
	if err := in.RenameAccount(ctx, b, "A"); err != nil {
		t.Error(err)
	}
	if got := must[Account](t)(in.Account(ctx, b)); got.Name != "A" {
		t.Error(got)
	}
	for _, err := range []error{in.RenameAccount(ctx, 99, "x"), errOf(in.Account(ctx, 99)), errOf(in.AddSensor(ctx, 99, &Sensor{Name: "s", Protocol: "p", Details: []byte("{}")}))} {
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	var names []string
	for _, c := range must[[]Credential](t)(in.Credentials(ctx, a)) {
		names = append(names, c.Protocol+": "+c.Name)
	}
	for _, s := range must[[]Sensor](t)(in.Sensors(ctx, a)) {
		names = append(names, s.Protocol+": "+s.Name)
	}
	want := []string{"ping: Default ICMP ping credential (3 packets)", "snmp: Default SNMP credential (SNMPv2c, 'public')", "netflow: Default NetFlow credential",
		"ping: Default ICMP ping sensor", "snmp: Traffic IN [bps]", "snmp: Traffic OUT [bps]", "snmp: Linux lmsensors - temperature [°C]", "netflow: Default NetFlow sensor"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestEntities(t *testing.T) {
	in := fresh(t)
	ctx, id := t.Context(), must[int64](t)
	a, other := id(in.AddAccount(ctx, "a")), id(in.AddAccount(ctx, "other"))
	credential := id(in.AddCredential(ctx, a, &Credential{Name: "c", Protocol: "snmp", Details: []byte(`{"version":"snmpv2c","snmpv12_community":"s3cret-community"}`)}))
	foreign := id(in.AddCredential(ctx, other, &Credential{Name: "c", Protocol: "snmp", Details: []byte(`{}`)}))
	load := id(in.AddSensor(ctx, a, &Sensor{Name: "load", Protocol: "snmp", DefaultInterval: ptr(60.0), Details: []byte(`{"z": 1, "a": [2]}`)}))
	temp := id(in.AddSensor(ctx, a, &Sensor{Name: "temp", Protocol: "snmp", Details: []byte(`{}`)}))
	bot := id(in.AddBot(ctx, &Bot{Name: "b", Protocol: ptr("snmp")}))
	pinger := id(in.AddBot(ctx, &Bot{Name: "p", Protocol: ptr("ping")}))
	theirs := id(in.AddBot(ctx, &Bot{Name: "t", Protocol: ptr("snmp"), TiedToAccount: &other}))

	e := Entity{Name: "sw-core", EntityType: "device", Details: []byte(`{"ipv4": "192.0.2.10", "a":"1"}`), Protocols: map[string]Protocol{
		"snmp": {credential, &bot, []Poll{{temp, nil}, {load, ptr(30.0)}}},
	}}
	e.ID = id(in.AddEntity(ctx, a, &e))
	child := id(in.AddEntity(ctx, a, &Entity{Name: "Gi0/1", EntityType: "interface", Parent: &e.ID, Details: []byte(`{"snmp_index":"1"}`)}))
	lines := func(want ...string) {
		t.Helper()
		var got []string
		for _, e := range must[[]Entity](t)(in.Entities(ctx, a)) {
			got = append(got, text(t, e))
			if one := must[Entity](t)(in.Entity(ctx, a, e.ID)); text(t, one) != got[len(got)-1] {
				t.Errorf("alone it is %s", text(t, one))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	second := `{"id":2,"name":"Gi0/1","entity_type":"interface","parent":1,"details":{"snmp_index":"1"},"protocols":{}}`
	lines(`{"id":1,"name":"sw-core","entity_type":"device","parent":null,"details":{"ipv4":"192.0.2.10","a":"1"},"protocols":{"snmp":{"credential":`+text(t, credential)+`,"bot":1,"sensors":[{"sensor":`+text(t, temp)+`,"interval":null},{"sensor":`+text(t, load)+`,"interval":30}]}}}`, second)

	bad := func(want string, change func(e *Entity)) {
		t.Helper()
		wrong := Entity{ID: e.ID, Name: "x", EntityType: "device", Details: []byte("{}")}
		change(&wrong)
		var refused *InvalidError
		for _, err := range []error{errOf(in.AddEntity(ctx, a, &wrong)), in.ChangeEntity(ctx, a, &wrong)} {
			if wrong.Parent != nil && err == nil {
				continue // a change leaves the parent alone
			}
			if !errors.As(err, &refused) || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
		if wrong.Parent != nil {
			in.ChangeEntity(ctx, a, &e)
		}
	}
	snmp := func(p Protocol) func(*Entity) {
		return func(e *Entity) { e.Protocols = map[string]Protocol{"snmp": p} }
	}
	bad("an entity must have a name and a type", func(e *Entity) { e.Name = "" })
	bad("details must be JSON", func(e *Entity) { e.Details = []byte("{") })
	bad("there is no entity 99 to be the parent", func(e *Entity) { e.Parent = ptr(int64(99)) })
	bad(`there is no credential `+text(t, foreign)+` for the protocol "snmp"`, snmp(Protocol{Credential: foreign}))
	bad(`there is no bot `+text(t, pinger)+` for the protocol "snmp"`, snmp(Protocol{credential, &pinger, nil}))
	bad(`there is no bot `+text(t, theirs)+` for the protocol "snmp"`, snmp(Protocol{credential, &theirs, nil}))
	bad(`there is no sensor 99 for the protocol "snmp"`, snmp(Protocol{credential, &bot, []Poll{{99, nil}}}))
	bad(`the sensor `+text(t, load)+` is there twice`, snmp(Protocol{credential, &bot, []Poll{{load, nil}, {load, nil}}}))
	bad(`the interval 0.5 is not between 1 and 3162240000 seconds`, snmp(Protocol{credential, &bot, []Poll{{load, ptr(0.5)}}}))
	if got := len(must[[]Entity](t)(in.Entities(ctx, a))); got != 2 {
		t.Errorf("there are %d entities", got)
	}

	// What deleting does to what it was used by (section 6).
	polled := func(want string) {
		t.Helper()
		if got := text(t, must[Entity](t)(in.Entity(ctx, a, e.ID)).Protocols); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if err := in.DeleteSensor(ctx, a, temp); err != nil {
		t.Fatal(err)
	}
	if err := in.DeleteBot(ctx, nil, bot); err != nil {
		t.Fatal(err)
	}
	polled(`{"snmp":{"credential":` + text(t, credential) + `,"bot":null,"sensors":[{"sensor":` + text(t, load) + `,"interval":30}]}}`)
	if err := in.ChangeSensor(ctx, a, &Sensor{ID: load, Name: "load", Protocol: "ping", Details: []byte("{}")}); err == nil || !strings.Contains(err.Error(), "entities use it") {
		t.Error(err)
	}
	if err := in.DeleteCredential(ctx, a, credential); err != nil {
		t.Fatal(err)
	}
	polled(`{}`)
	for _, err := range []error{in.DeleteEntity(ctx, other, e.ID), in.ChangeEntity(ctx, other, &e), errOf(in.Entity(ctx, other, child)), in.DeleteSensor(ctx, other, load), in.DeleteCredential(ctx, a, foreign)} {
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if err := in.DeleteEntity(ctx, a, e.ID); err != nil {
		t.Fatal(err)
	}
	lines()
	if err := errOf(in.AddSensor(ctx, a, &Sensor{Name: "load", Protocol: "snmp", Details: []byte("{}")})); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
}

// TestSecrets looks for secrets in the files of the database.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "deep", "inventory.db")
	in := New(Config{Path: path}, slog.New(slog.DiscardHandler))
	ctx, id := t.Context(), must[int64](t)
	a := id(in.AddAccount(ctx, "a"))
	credential := id(in.AddCredential(ctx, a, &Credential{Name: "c", Protocol: "snmp", Details: []byte(`{"snmpv12_community":"s3cret-community"}`)}))
	bot := id(in.AddBot(ctx, &Bot{Name: "b"}))
	token := must[string](t)(in.Token(ctx, nil, bot))
	id(in.AddFirstForTest(t, "root", "a good password"))
	in.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "deep", "*"))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"s3cret", token, "a good password"} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s has %q in it", file, secret)
			}
		}
		if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", file, info.Mode())
		}
	}
	if len(files) != 2 {
		t.Errorf("there are %v", files)
	}
	again := New(Config{Path: path}, slog.New(slog.DiscardHandler))
	if got := must[Credential](t)(again.Credential(ctx, a, credential)); string(got.Details) != `{"snmpv12_community":"s3cret-community"}` {
		t.Error(string(got.Details))
	}
	again.Close()
	wrong := New(Config{Path: path, Secret: testSecret}, slog.New(slog.DiscardHandler))
	if err := wrong.Open(ctx); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "encrypted with another key") {
		t.Error(err)
	}
	if err := New(Config{Path: path, Secret: "short"}, slog.New(slog.DiscardHandler)).Open(ctx); err == nil || !strings.Contains(err.Error(), "must have 16 or more") {
		t.Error(err)
	}
}

// AddFirstForTest adds a person without asking whether it is the first.
func (in *Inventory) AddFirstForTest(t *testing.T, username, password string) (int64, error) {
	return in.AddPerson(t.Context(), &Person{Name: username, Username: username}, password)
}

func TestUsers(t *testing.T) {
	in := fresh(t)
	now := time.Unix(1718000000, 0)
	in.now = func() time.Time { return now }
	ctx, id := t.Context(), must[int64](t)
	root := id(in.AddFirst(ctx, &Person{Name: "Root", Username: "root", Email: "root@example.org", Timezone: "UTC"}, "a good password"))
	if _, err := in.AddFirst(ctx, &Person{Name: "Root", Username: "root2"}, "a good password"); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if any, err := in.HasUsers(ctx); !any || err != nil {
		t.Error(any, err)
	}
	if got := id(in.ByPassword(ctx, "root", "a good password")); got != root {
		t.Error(got)
	}
	for _, pair := range [][2]string{{"root", "a bad password"}, {"nobody", "a good password"}, {"root", ""}} {
		if _, err := in.ByPassword(ctx, pair[0], pair[1]); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if err := in.SetPassword(ctx, root, "another password"); err != nil {
		t.Error(err)
	}
	id(in.ByPassword(ctx, "root", "another password"))
	for _, p := range []Person{{Name: "x"}, {Name: "x", Username: "x", Email: "nowhere"}, {Name: "x", Username: "x", Timezone: "Mars/Olympus"}} {
		if _, err := in.AddPerson(ctx, &p, "a good password"); err == nil {
			t.Errorf("%+v is good", p)
		}
	}
	if _, err := in.AddPerson(ctx, &Person{Name: "x", Username: "y"}, "short"); err == nil {
		t.Error("a short password is good")
	}
	if _, err := in.AddPerson(ctx, &Person{Name: "x", Username: "root"}, "a good password"); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}

	a := id(in.AddAccount(ctx, "a"))
	bot := id(in.AddBot(ctx, &Bot{Name: "b", Protocol: ptr("snmp"), TiedToAccount: &a, Config: ptr(`{"x":1}`)}))
	token := must[string](t)(in.Token(ctx, &a, bot))
	if _, err := in.Token(ctx, nil, bot); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if got := text(t, must[Bot](t)(in.Bot(ctx, &a, bot))); got != `{"id":2,"name":"b","protocol":"snmp","tied_to_account":1,"config":"{\"x\":1}","insert_time":1718000000,"last_login":null}` {
		t.Error(got)
	}
	id(in.AddPermission(ctx, bot, &Permission{ResourcePrefix: ptr("/accounts/1/values/"), Methods: []string{"POST", "PUT"}}))
	u := must[*User](t)(in.ByToken(ctx, token))
	if u.ID != bot || *u.Bot.LastLogin != 1718000000 || text(t, u.Permissions) != `[{"id":2,"resource_prefix":"accounts/1/values","methods":["POST","PUT"]}]` {
		t.Errorf("%+v %s", u, text(t, u.Permissions))
	}
	now = now.Add(9 * time.Second)
	if u := must[*User](t)(in.ByToken(ctx, token)); *u.Bot.LastLogin != 1718000000 {
		t.Error(*u.Bot.LastLogin)
	}
	now = now.Add(time.Second)
	if u := must[*User](t)(in.ByToken(ctx, token)); *u.Bot.LastLogin != 1718000010 {
		t.Error(*u.Bot.LastLogin)
	}
	for _, wrong := range []string{"", "x", strings.ToUpper(token), token + "0"} {
		if _, err := in.ByToken(ctx, wrong); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if err := in.ChangeBot(ctx, &Bot{ID: bot, Name: "c", TiedToAccount: &a}); err != nil {
		t.Error(err)
	}
	if err := in.ChangeBot(ctx, &Bot{ID: bot, Name: "c"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	for _, p := range []Permission{{Methods: []string{}}, {Methods: []string{"HEAD"}}, {Methods: []string{"GET", "GET"}}, {ResourcePrefix: ptr("/")}} {
		if _, err := in.AddPermission(ctx, bot, &p); err == nil {
			t.Errorf("%+v is good", p)
		}
	}
	if err := in.DeletePermission(ctx, root, 2); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := in.DeleteBot(ctx, &a, bot); err != nil {
		t.Error(err)
	}
	if _, err := in.ByToken(ctx, token); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if u := must[*User](t)(in.User(ctx, root)); u.Person.Username != "root" || !u.Allows("DELETE", "anything") {
		t.Errorf("%+v", u)
	}
	if err := in.DeletePerson(ctx, root); err != nil {
		t.Error(err)
	}
}

// TestAllows has section 4.2.
func TestAllows(t *testing.T) {
	of := func(prefix string, methods ...string) *User {
		p := Permission{Methods: methods}
		if prefix != "" {
			p.ResourcePrefix = &prefix
		}
		return &User{Permissions: []Permission{{ResourcePrefix: ptr("nothing")}, p}}
	}
	for _, c := range []struct {
		user             *User
		method, resource string
		want             bool
	}{
		{of(""), "DELETE", "accounts/1", true}, {of("accounts/12"), "GET", "accounts/12", true}, {of("accounts/12"), "GET", "accounts/12/values", true},
		{of("accounts/12"), "GET", "accounts/123", false}, {of("accounts/12"), "GET", "accounts", false}, {of("accounts", "GET"), "HEAD", "accounts/1", true},
		{of("accounts", "GET"), "POST", "accounts/1", false}, {of("accounts", "POST", "PUT"), "PUT", "accounts/1", true}, {of("", "GET"), "DELETE", "x", false},
	} {
		if got := c.user.Allows(c.method, c.resource); got != c.want {
			t.Errorf("%s %s by %s is %v", c.method, c.resource, text(t, c.user.Permissions), got)
		}
	}
	for _, c := range []struct {
		user   *User
		wanted Permission
		want   bool
	}{
		{of(""), Permission{}, true}, {of("", "GET"), Permission{}, false}, {of("accounts"), Permission{ResourcePrefix: ptr("accounts/1"), Methods: []string{"GET"}}, true},
		{of("accounts"), Permission{}, false}, {of("accounts/1"), Permission{ResourcePrefix: ptr("accounts/12")}, false},
		{of("accounts", "GET", "PUT"), Permission{ResourcePrefix: ptr("accounts"), Methods: []string{"PUT"}}, true}, {of("accounts", "GET"), Permission{ResourcePrefix: ptr("accounts"), Methods: []string{"GET", "PUT"}}, false},
	} {
		if got := c.user.MayGrant(c.wanted); got != c.want {
			t.Errorf("%s given by %s is %v", text(t, c.wanted), text(t, c.user.Permissions), got)
		}
	}
}

func TestSource(t *testing.T) {
	in := fresh(t)
	ctx, id := t.Context(), must[int64](t)
	a := id(in.AddAccount(ctx, "a"))
	bot, another := id(in.AddBot(ctx, &Bot{Name: "b", Protocol: ptr("ping")})), id(in.AddBot(ctx, &Bot{Name: "b", Protocol: ptr("ping")}))
	poll := func(bot *int64) map[string]Protocol { return map[string]Protocol{"ping": {1, bot, []Poll{{1, nil}}}} }
	for _, e := range []Entity{{Name: "free", Protocols: poll(nil)}, {Name: "mine", Protocols: poll(&bot)}, {Name: "theirs", Protocols: poll(&another)}, {Name: "none"},
		{Name: "empty", Protocols: map[string]Protocol{"ping": {Credential: 1}}}, {Name: "part", EntityType: "interface", Protocols: poll(nil)}} {
		e.Details = []byte(`{"ipv4":"192.0.2.1"}`)
		if e.EntityType == "" {
			e.EntityType = "device"
		}
		id(in.AddEntity(ctx, a, &e))
	}
	names := func(bot int64) (all []string) {
		for config, err := range in.Source(bot).FetchJobConfigs(ctx, "ping") {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, config.Name)
			if config.Name == "free" {
				want := `{"account_id":1,"entity_id":1,"name":"free","entity_type":"device","parent":null,"details":{"ipv4":"192.0.2.1"},"credential_details":{"n_packets":"3","sleep_packets":"1.0","timeout":"1.0","retry":"0"},"sensors":[{"sensor_id":1,"interval":60,"sensor_details":{}}]}`
				if got := text(t, config); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		}
		return all
	}
	if got := strings.Join(names(0), " "); got != "free" {
		t.Error(got)
	}
	if got := strings.Join(names(bot), " "); got != "free mine" {
		t.Error(got)
	}
}

func TestPaths(t *testing.T) {
	in := fresh(t)
	ctx := t.Context()
	a := must[int64](t)(in.AddAccount(ctx, "a"))
	b := must[int64](t)(in.AddAccount(ctx, "b"))
	ids := must[[]int64](t)(in.PathIDs(ctx, a, []string{"x.y", "x.z", "x.y"}))
	if ids[0] == 0 || ids[0] != ids[2] || ids[0] == ids[1] {
		t.Error(ids)
	}
	if again := must[int64](t)(in.PathID(ctx, a, "x.z")); again != ids[1] {
		t.Error(again)
	}
	if other := must[int64](t)(in.PathID(ctx, b, "x.z")); other == ids[1] {
		t.Error(other)
	}
	if err := in.RenamePath(ctx, a, ids[0], "x.z"); !errors.Is(err, ErrConflict) {
		t.Error(err)
	}
	if err := in.RenamePath(ctx, a, ids[0], "q"); err != nil || must[string](t)(in.Path(ctx, a, ids[0])) != "q" {
		t.Error(err)
	}
	if err := in.DeletePath(ctx, b, ids[0]); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestDamage has files that are no database, and one of a newer Weir. They are left as they are.
func TestDamage(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "inventory.db")
	garbage := bytes.Repeat([]byte("this is no database "), 1000)
	if err := os.WriteFile(path, garbage, 0o600); err != nil {
		t.Fatal(err)
	}
	in := open(t, path)
	if _, err := in.Accounts(ctx); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "it is left as it is") {
		t.Error(err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, garbage) {
		t.Error("the file was changed", err)
	}
	os.Remove(path)
	now := time.Now().Add(time.Minute)
	in.now = func() time.Time { return now }
	must[int64](t)(in.AddAccount(ctx, "mended while it ran"))
	in.Close()
	if _, err := in.Accounts(ctx); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}

	newer := open(t, path)
	db, err := newer.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	newer.Close()
	if err := open(t, path).Open(ctx); err == nil || !strings.Contains(err.Error(), "written by a newer Weir") {
		t.Error(err)
	}
}

// TestConcurrent has many who read and write at once.
func TestConcurrent(t *testing.T) {
	in := fresh(t)
	a := must[int64](t)(in.AddAccount(t.Context(), "a"))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if _, err := in.AddEntity(t.Context(), a, &Entity{Name: "e", EntityType: "device", Details: []byte("{}")}); err != nil {
					t.Error(err)
				}
				if _, err := in.Entities(t.Context(), a); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := len(must[[]Entity](t)(in.Entities(t.Context(), a))); got != 160 {
		t.Errorf("there are %d entities", got)
	}
}

// TestLocked has a database that another program holds for longer than anybody waits.
func TestLocked(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "inventory.db")
	in := open(t, path)
	a := must[int64](t)(in.AddAccount(ctx, "a"))
	other := open(t, path)
	db, err := other.open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(ctx, nil) // takes the lock for writing
	if err != nil {
		t.Fatal(err)
	}
	if err := in.RenameAccount(ctx, a, "b"); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if got := must[Account](t)(in.Account(ctx, a)); got.Name != "a" { // reading goes on
		t.Error(got)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := in.RenameAccount(ctx, a, "b"); err != nil {
		t.Error(err)
	}
}
