package grafolean

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/inventory"
)

// accounts are those the user has to do with: all, or those its permissions name (section 4.2).
func accounts(c *call) error {
	all, err := c.s.inventory.Accounts(c.ctx)
	if err != nil {
		return err
	}
	named := make(map[string]bool)
	for _, p := range c.user.Permissions {
		if p.ResourcePrefix == nil || *p.ResourcePrefix == "accounts" {
			return list(c, all, nil)
		}
		if rest, ok := strings.CutPrefix(*p.ResourcePrefix, "accounts/"); ok {
			id, _, _ := strings.Cut(rest, "/")
			named[id] = true
		}
	}
	return list(c, slices.DeleteFunc(all, func(a inventory.Account) bool { return !named[strconv.FormatInt(a.ID, 10)] }), nil)
}

func allAccounts(c *call) error {
	all, err := c.s.inventory.Accounts(c.ctx)
	return list(c, all, err)
}

func addAccount(c *call) error {
	var body struct{ Name *string }
	if err := c.typed(&body, "name"); err != nil {
		return err
	}
	id, err := c.s.inventory.AddAccount(c.ctx, *body.Name)
	if err != nil {
		return err
	}
	c.json(http.StatusCreated, inventory.Account{ID: id, Name: *body.Name})
	return nil
}

func account(c *call) error {
	id, err := c.account()
	if err != nil {
		return err
	}
	a, err := c.s.inventory.Account(c.ctx, id)
	if err != nil {
		return missing(err, "account")
	}
	return c.ok(a)
}

func renameAccount(c *call) error {
	id, err := c.account()
	if err != nil {
		return err
	}
	var body struct {
		Name string `json:"name"`
	}
	if err := c.decode(&body, []string{"name"}, nil); err != nil {
		return err
	}
	if err := c.s.inventory.RenameAccount(c.ctx, id, body.Name); err != nil {
		return missing(err, "account")
	}
	return c.done()
}

// credentials are those of an account.
func credentials(c *call) error {
	account, err := c.known()
	if err != nil {
		return err
	}
	all, err := c.s.inventory.Credentials(c.ctx, account)
	if err != nil {
		return err
	}
	mayRead, err := c.credentialsToRead(account)
	return list(c, slices.DeleteFunc(all, func(one inventory.Credential) bool { return !mayRead(one.ID) }), err)
}

// credentialsToRead reports which credentials of an account the user reads. A bot that may not change them has only those with which it
// polls (section 8): the others are as if they were not there.
func (c *call) credentialsToRead(account int64) (func(id int64) bool, error) {
	if c.user.Bot == nil || c.user.Allows("PUT", c.resource) {
		return func(int64) bool { return true }, nil
	}
	own, err := c.s.inventory.CredentialsOf(c.ctx, account, c.user.Bot)
	return func(id int64) bool { return slices.Contains(own, id) }, err
}

// known is the account of the resource, which exists.
func (c *call) known() (int64, error) {
	id, err := c.account()
	if err != nil {
		return 0, err
	}
	_, err = c.s.inventory.Account(c.ctx, id)
	return id, missing(err, "account")
}

func credential(c *call) error {
	account, id, err := c.within("credential")
	if err != nil {
		return err
	}
	mayRead, err := c.credentialsToRead(account)
	if err != nil {
		return err
	}
	if !mayRead(id) {
		return notFound("credential")
	}
	found, err := c.s.inventory.Credential(c.ctx, account, id)
	if err != nil {
		return missing(err, "credential")
	}
	return c.ok(found)
}

var credentialKeys = []string{"name", "protocol", "details"}

func addCredential(c *call) error {
	account, err := c.account()
	if err != nil {
		return err
	}
	var body inventory.Credential
	if err := c.decode(&body, credentialKeys, nil); err != nil {
		return err
	}
	id, err := c.s.inventory.AddCredential(c.ctx, account, &body)
	if err != nil {
		return missing(err, "account")
	}
	return c.created(id)
}

func changeCredential(c *call) error {
	account, id, err := c.within("credential")
	if err != nil {
		return err
	}
	var body inventory.Credential
	if err := c.decode(&body, credentialKeys, nil); err != nil {
		return err
	}
	body.ID = id
	if err := c.s.inventory.ChangeCredential(c.ctx, account, &body); err != nil {
		return missing(err, "credential")
	}
	return c.done()
}

func deleteCredential(c *call) error {
	account, id, err := c.within("credential")
	if err != nil {
		return err
	}
	if err := c.s.inventory.DeleteCredential(c.ctx, account, id); err != nil {
		return missing(err, "credential")
	}
	return c.done()
}

// sensors are those of an account.
func sensors(c *call) error {
	account, err := c.known()
	if err != nil {
		return err
	}
	all, err := c.s.inventory.Sensors(c.ctx, account)
	return list(c, all, err)
}

func sensor(c *call) error {
	account, id, err := c.within("sensor")
	if err != nil {
		return err
	}
	found, err := c.s.inventory.Sensor(c.ctx, account, id)
	if err != nil {
		return missing(err, "sensor")
	}
	return c.ok(found)
}

var sensorKeys = []string{"name", "protocol", "default_interval", "details"}

func addSensor(c *call) error {
	account, err := c.account()
	if err != nil {
		return err
	}
	var body inventory.Sensor
	if err := c.decode(&body, sensorKeys, nil); err != nil {
		return err
	}
	id, err := c.s.inventory.AddSensor(c.ctx, account, &body)
	if err != nil {
		return missing(err, "account")
	}
	return c.created(id)
}

func changeSensor(c *call) error {
	account, id, err := c.within("sensor")
	if err != nil {
		return err
	}
	var body inventory.Sensor
	if err := c.decode(&body, sensorKeys, nil); err != nil {
		return err
	}
	body.ID = id
	if err := c.s.inventory.ChangeSensor(c.ctx, account, &body); err != nil {
		return missing(err, "sensor")
	}
	return c.done()
}

func deleteSensor(c *call) error {
	account, id, err := c.within("sensor")
	if err != nil {
		return err
	}
	if err := c.s.inventory.DeleteSensor(c.ctx, account, id); err != nil {
		return missing(err, "sensor")
	}
	return c.done()
}

// entities are those of an account; with parent and entity_type only some of them.
func entities(c *call) error {
	account, err := c.known()
	if err != nil {
		return err
	}
	all, err := c.s.inventory.Entities(c.ctx, account)
	query := c.r.URL.Query()
	parent, kind := query.Get("parent"), query.Get("entity_type")
	all = slices.DeleteFunc(all, func(e inventory.Entity) bool {
		return kind != "" && e.EntityType != kind || parent != "" && (e.Parent == nil || strconv.FormatInt(*e.Parent, 10) != parent)
	})
	return list(c, all, err)
}

func entity(c *call) error {
	account, id, err := c.within("entity")
	if err != nil {
		return err
	}
	found, err := c.s.inventory.Entity(c.ctx, account, id)
	if err != nil {
		return missing(err, "entity")
	}
	return c.ok(found)
}

// entityBody reads an entity. Numbers of things may be texts (section 4.5).
func (c *call) entityBody() (*inventory.Entity, error) {
	var body struct {
		inventory.Entity
		Parent    *number `json:"parent"`
		Protocols map[string]struct {
			Credential *number `json:"credential"`
			Bot        *number `json:"bot"`
			Sensors    *[]struct {
				Sensor   *number  `json:"sensor"`
				Interval *float64 `json:"interval"`
			} `json:"sensors"`
		} `json:"protocols"`
	}
	if err := c.decode(&body, []string{"name", "entity_type", "details"}, []string{"parent", "protocols"}); err != nil {
		return nil, err
	}
	e := &body.Entity
	e.Parent = (*int64)(nil)
	if body.Parent != nil {
		parent := int64(*body.Parent)
		e.Parent = &parent
	}
	e.Protocols = make(map[string]inventory.Protocol)
	for name, p := range body.Protocols {
		if p.Credential == nil || p.Bot == nil || p.Sensors == nil {
			return nil, invalid("the protocol %q must have credential, bot and sensors", name)
		}
		bot := int64(*p.Bot)
		made := inventory.Protocol{Credential: int64(*p.Credential), Bot: &bot}
		for _, s := range *p.Sensors {
			if s.Sensor == nil {
				return nil, invalid("a sensor of the protocol %q has no number", name)
			}
			made.Sensors = append(made.Sensors, inventory.Poll{Sensor: int64(*s.Sensor), Interval: s.Interval})
		}
		e.Protocols[name] = made
	}
	return e, nil
}

func addEntity(c *call) error {
	account, err := c.account()
	if err != nil {
		return err
	}
	e, err := c.entityBody()
	if err != nil {
		return err
	}
	id, err := c.s.inventory.AddEntity(c.ctx, account, e)
	if err != nil {
		return missing(err, "account")
	}
	return c.created(id)
}

func changeEntity(c *call) error {
	account, id, err := c.within("entity")
	if err != nil {
		return err
	}
	e, err := c.entityBody()
	if err != nil {
		return err
	}
	e.ID = id
	if err := c.s.inventory.ChangeEntity(c.ctx, account, e); err != nil {
		return missing(err, "entity")
	}
	return c.done()
}

func deleteEntity(c *call) error {
	account, id, err := c.within("entity")
	if err != nil {
		return err
	}
	if err := c.s.inventory.DeleteEntity(c.ctx, account, id); err != nil {
		return missing(err, "entity")
	}
	return c.done()
}
