package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"
)

// File is what is exported and imported: accounts with what is in them. Things are told
// apart by their names, not by numbers, so that a file can be taken to another installation.
type File struct {
	Accounts []FileAccount `yaml:"accounts"`
	Bots     []FileBot     `yaml:"bots,omitempty"` // of the whole system
}

// FileAccount is an account in a File.
type FileAccount struct {
	Name        string           `yaml:"name"`
	Credentials []FileCredential `yaml:"credentials,omitempty"`
	Sensors     []FileSensor     `yaml:"sensors,omitempty"`
	Bots        []FileBot        `yaml:"bots,omitempty"`
	Entities    []FileEntity     `yaml:"entities,omitempty"`
}

// FileBot is a bot in a File. It gets a token of its own where it is imported.
type FileBot struct {
	Name        string           `yaml:"name"`
	Protocol    string           `yaml:"protocol,omitempty"`
	Permissions []FilePermission `yaml:"permissions,omitempty"`
}

// FilePermission is a permission in a File. {account} in Prefix is the number of the account of the bot.
type FilePermission struct {
	Prefix  string   `yaml:"prefix,omitempty"` // "" for everything
	Methods []string `yaml:"methods,omitempty"`
}

// FileCredential is a credential in a File.
type FileCredential struct {
	Name     string `yaml:"name"`
	Protocol string `yaml:"protocol"`
	Details  any    `yaml:"details"`
}

// FileSensor is a sensor in a File.
type FileSensor struct {
	Name     string   `yaml:"name"`
	Protocol string   `yaml:"protocol"`
	Interval *float64 `yaml:"interval,omitempty"`
	Details  any      `yaml:"details"`
}

// FileEntity is an entity in a File.
type FileEntity struct {
	Name      string                  `yaml:"name"`
	Type      string                  `yaml:"type"`
	Parent    string                  `yaml:"parent,omitempty"` // an entity before it
	Details   any                     `yaml:"details"`
	Protocols map[string]FileProtocol `yaml:"protocols,omitempty"`
}

// FileProtocol is how an entity is polled, in a File.
type FileProtocol struct {
	Credential string     `yaml:"credential"`
	Bot        string     `yaml:"bot,omitempty"`
	Sensors    []FilePoll `yaml:"sensors"`
}

// FilePoll is a sensor of an entity in a File.
type FilePoll struct {
	Sensor   string   `yaml:"sensor"`
	Interval *float64 `yaml:"interval,omitempty"`
}

// ReadFile decodes a File. The error has the line of what is wrong.
func ReadFile(text []byte) (*File, error) {
	var f File
	if err := yaml.UnmarshalWithOptions(text, &f, yaml.Strict(), yaml.UseOrderedMap()); err != nil {
		return nil, fmt.Errorf("cannot read the inventory: %s", yaml.FormatError(err, false, true))
	}
	return &f, nil
}

// Encode is the File as YAML.
func (f *File) Encode() ([]byte, error) { return yaml.Marshal(f) }

// Export is all there is but persons and tokens. With secrets the details of credentials are in it, in clear.
func (in *Inventory) Export(ctx context.Context, secrets bool) (*File, error) {
	f := &File{Accounts: []FileAccount{}}
	accounts, err := in.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	system, err := in.Bots(ctx, nil)
	if err != nil {
		return nil, err
	}
	if f.Bots, err = in.exportBots(ctx, system, 0); err != nil {
		return nil, err
	}
	for _, account := range accounts {
		exported, err := in.exportAccount(ctx, account, system, secrets)
		if err != nil {
			return nil, fmt.Errorf("account %q: %w", account.Name, err)
		}
		f.Accounts = append(f.Accounts, *exported)
	}
	return f, nil
}

func (in *Inventory) exportAccount(ctx context.Context, account Account, system []Bot, secrets bool) (*FileAccount, error) {
	f := &FileAccount{Name: account.Name}
	credentials, err := in.Credentials(ctx, account.ID)
	if err != nil {
		return nil, err
	}
	credentialName := make(map[int64]string)
	for _, c := range credentials {
		credentialName[c.ID] = c.Name
		of := FileCredential{Name: c.Name, Protocol: c.Protocol, Details: map[string]any{}}
		if secrets {
			if of.Details, err = tree(c.Details); err != nil {
				return nil, err
			}
		}
		f.Credentials = append(f.Credentials, of)
	}
	sensors, err := in.Sensors(ctx, account.ID)
	if err != nil {
		return nil, err
	}
	sensorName := make(map[int64]string)
	for _, s := range sensors {
		sensorName[s.ID] = s.Name
		of := FileSensor{Name: s.Name, Protocol: s.Protocol, Interval: s.DefaultInterval}
		if of.Details, err = tree(s.Details); err != nil {
			return nil, err
		}
		f.Sensors = append(f.Sensors, of)
	}
	bots, err := in.Bots(ctx, &account.ID)
	if err != nil {
		return nil, err
	}
	if f.Bots, err = in.exportBots(ctx, bots, account.ID); err != nil {
		return nil, err
	}
	botName := make(map[int64]string)
	for _, b := range append(slices.Clone(system), bots...) {
		botName[b.ID] = b.Name
	}
	entities, err := in.Entities(ctx, account.ID)
	if err != nil {
		return nil, err
	}
	entityName := make(map[int64]string)
	for _, e := range entities {
		entityName[e.ID] = e.Name
		of := FileEntity{Name: e.Name, Type: e.EntityType}
		if e.Parent != nil {
			of.Parent = entityName[*e.Parent]
		}
		if of.Details, err = tree(e.Details); err != nil {
			return nil, err
		}
		for name, p := range e.Protocols {
			exported := FileProtocol{Credential: credentialName[p.Credential], Sensors: []FilePoll{}}
			if p.Bot != nil {
				exported.Bot = botName[*p.Bot]
			}
			for _, poll := range p.Sensors {
				exported.Sensors = append(exported.Sensors, FilePoll{sensorName[poll.Sensor], poll.Interval})
			}
			if of.Protocols == nil {
				of.Protocols = make(map[string]FileProtocol)
			}
			of.Protocols[name] = exported
		}
		f.Entities = append(f.Entities, of)
	}
	return f, nil
}

func (in *Inventory) exportBots(ctx context.Context, bots []Bot, account int64) (all []FileBot, err error) {
	for _, b := range bots {
		of := FileBot{Name: b.Name}
		if b.Protocol != nil {
			of.Protocol = *b.Protocol
		}
		permissions, err := in.Permissions(ctx, b.ID)
		if err != nil {
			return nil, err
		}
		for _, p := range permissions {
			prefix := ""
			if p.ResourcePrefix != nil {
				prefix = withAccount(*p.ResourcePrefix, account)
			}
			of.Permissions = append(of.Permissions, FilePermission{prefix, p.Methods})
		}
		all = append(all, of)
	}
	return all, nil
}

// tree is JSON as YAML is made from, with keys in their order.
func tree(details json.RawMessage) (any, error) {
	var value any
	err := yaml.UnmarshalWithOptions(details, &value, yaml.UseOrderedMap())
	return value, err
}

// plainJSON is the inverse of tree.
func plainJSON(value any) (json.RawMessage, error) {
	if value == nil {
		return json.RawMessage("{}"), nil
	}
	text, err := yaml.MarshalWithOptions(value, yaml.JSON())
	if err != nil {
		return nil, err
	}
	var short json.RawMessage
	if err := json.Unmarshal(text, &short); err != nil {
		return nil, err
	}
	return json.Marshal(short)
}

// Imported says what an import did.
type Imported struct{ Added, Changed int }

// Import adds what the inventory lacks and changes what is different; what the file does not
// name stays. It stops at the first thing that is wrong; what came before it is kept.
func (in *Inventory) Import(ctx context.Context, f *File) (done Imported, err error) {
	if err := in.importBots(ctx, f.Bots, nil, &done); err != nil {
		return done, err
	}
	accounts, err := in.Accounts(ctx)
	if err != nil {
		return done, err
	}
	for i := range f.Accounts {
		of := &f.Accounts[i]
		at := slices.IndexFunc(accounts, func(a Account) bool { return a.Name == of.Name })
		id := int64(0)
		if at >= 0 {
			id = accounts[at].ID
		} else if id, err = in.AddAccount(ctx, of.Name); err != nil {
			return done, err
		} else {
			done.Added++
		}
		if err := in.importAccount(ctx, of, id, &done); err != nil {
			return done, fmt.Errorf("account %q: %w", of.Name, err)
		}
	}
	return done, nil
}

func (in *Inventory) importAccount(ctx context.Context, f *FileAccount, account int64, done *Imported) error {
	credentials, err := in.Credentials(ctx, account)
	if err != nil {
		return err
	}
	credentialID := make(map[string]int64)
	for _, c := range credentials {
		credentialID[c.Name] = c.ID
	}
	for _, c := range f.Credentials {
		of := Credential{Name: c.Name, Protocol: c.Protocol}
		if of.Details, err = plainJSON(c.Details); err != nil {
			return fmt.Errorf("credential %q: %w", c.Name, err)
		}
		at := slices.IndexFunc(credentials, func(old Credential) bool { return old.Name == c.Name })
		switch {
		case at < 0:
			of.ID, err = in.AddCredential(ctx, account, &of)
			done.Added++
		case credentials[at].Protocol == of.Protocol && (string(of.Details) == "{}" || sameJSON(credentials[at].Details, of.Details)):
			continue
		default:
			of.ID = credentials[at].ID
			err = in.ChangeCredential(ctx, account, &of)
			done.Changed++
		}
		if err != nil {
			return fmt.Errorf("credential %q: %w", c.Name, err)
		}
		credentialID[c.Name] = of.ID
	}
	sensors, err := in.Sensors(ctx, account)
	if err != nil {
		return err
	}
	sensorID := make(map[string]int64)
	for _, s := range sensors {
		sensorID[s.Name] = s.ID
	}
	for _, s := range f.Sensors {
		of := Sensor{Name: s.Name, Protocol: s.Protocol, DefaultInterval: s.Interval}
		if of.Details, err = plainJSON(s.Details); err != nil {
			return fmt.Errorf("sensor %q: %w", s.Name, err)
		}
		at := slices.IndexFunc(sensors, func(old Sensor) bool { return old.Name == s.Name })
		switch {
		case at < 0:
			of.ID, err = in.AddSensor(ctx, account, &of)
			done.Added++
		case sameJSON(of, Sensor{Name: s.Name, Protocol: sensors[at].Protocol, DefaultInterval: sensors[at].DefaultInterval, Details: sensors[at].Details}):
			continue
		default:
			of.ID = sensors[at].ID
			err = in.ChangeSensor(ctx, account, &of)
			done.Changed++
		}
		if err != nil {
			return fmt.Errorf("sensor %q: %w", s.Name, err)
		}
		sensorID[s.Name] = of.ID
	}
	if err := in.importBots(ctx, f.Bots, &account, done); err != nil {
		return err
	}
	botID := make(map[string]int64)
	for _, tied := range []*int64{nil, &account} {
		bots, err := in.Bots(ctx, tied)
		if err != nil {
			return err
		}
		for _, b := range bots {
			botID[b.Name] = b.ID
		}
	}
	return in.importEntities(ctx, f.Entities, account, names{credentialID, sensorID, botID}, done)
}

// names are the numbers of things by name.
type names struct{ credential, sensor, bot map[string]int64 }

func (in *Inventory) importEntities(ctx context.Context, entities []FileEntity, account int64, by names, done *Imported) error {
	known, err := in.Entities(ctx, account)
	if err != nil {
		return err
	}
	for _, e := range entities {
		of := Entity{Name: e.Name, EntityType: e.Type, Protocols: make(map[string]Protocol)}
		if of.Details, err = plainJSON(e.Details); err != nil {
			return fmt.Errorf("entity %q: %w", e.Name, err)
		}
		if e.Parent != "" {
			at := slices.IndexFunc(known, func(old Entity) bool { return old.Name == e.Parent })
			if at < 0 {
				return fmt.Errorf("entity %q: there is no entity %q before it to be the parent", e.Name, e.Parent)
			}
			of.Parent = &known[at].ID
		}
		for name, p := range e.Protocols {
			made, err := by.protocol(p)
			if err != nil {
				return fmt.Errorf("entity %q, protocol %s: %w", e.Name, name, err)
			}
			of.Protocols[name] = made
		}
		at := slices.IndexFunc(known, func(old Entity) bool { return old.Name == e.Name && same(old.Parent, of.Parent) })
		switch {
		case at < 0:
			of.ID, err = in.AddEntity(ctx, account, &of)
			known = append(known, of)
			done.Added++
		default:
			of.ID = known[at].ID
			if sameJSON(of, known[at]) {
				continue
			}
			err = in.ChangeEntity(ctx, account, &of)
			done.Changed++
		}
		if err != nil {
			return fmt.Errorf("entity %q: %w", e.Name, err)
		}
	}
	return nil
}

func (by names) protocol(p FileProtocol) (made Protocol, err error) {
	find := func(of map[string]int64, what, name string) int64 {
		id, ok := of[name]
		if !ok {
			err = errors.Join(err, fmt.Errorf("there is no %s %q", what, name))
		}
		return id
	}
	made.Credential, made.Sensors = find(by.credential, "credential", p.Credential), []Poll{}
	if p.Bot != "" {
		id := find(by.bot, "bot", p.Bot)
		made.Bot = &id
	}
	for _, poll := range p.Sensors {
		made.Sensors = append(made.Sensors, Poll{find(by.sensor, "sensor", poll.Sensor), poll.Interval})
	}
	return made, err
}

func (in *Inventory) importBots(ctx context.Context, bots []FileBot, account *int64, done *Imported) error {
	known, err := in.Bots(ctx, account)
	if err != nil {
		return err
	}
	for _, b := range bots {
		if slices.ContainsFunc(known, func(old Bot) bool { return old.Name == b.Name }) {
			continue // with its token and permissions it is for its administrator to change
		}
		of := Bot{Name: b.Name, TiedToAccount: account}
		if b.Protocol != "" {
			of.Protocol = &b.Protocol
		}
		id, err := in.AddBot(ctx, &of)
		if err != nil {
			return fmt.Errorf("bot %q: %w", b.Name, err)
		}
		done.Added++
		for _, p := range b.Permissions {
			made := Permission{Methods: p.Methods}
			if p.Prefix != "" {
				prefix, err := ofAccount(p.Prefix, account)
				if err != nil {
					return fmt.Errorf("bot %q: %w", b.Name, err)
				}
				made.ResourcePrefix = &prefix
			}
			if _, err := in.AddPermission(ctx, id, &made); err != nil {
				return fmt.Errorf("bot %q: %w", b.Name, err)
			}
		}
	}
	return nil
}

func same(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }

// sameJSON reports whether two things are the same but for the form of their JSON.
func sameJSON(a, b any) bool {
	form := func(v any) string {
		text, _ := json.Marshal(v)
		var plain any
		_ = json.Unmarshal(text, &plain)
		text, _ = json.Marshal(plain)
		return string(text)
	}
	return form(a) == form(b)
}
