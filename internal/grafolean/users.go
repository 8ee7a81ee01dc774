package grafolean

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/weirhq/weir/internal/inventory"
)

// profile is who asks.
func profile(c *call) error {
	answer := struct {
		ID     int64  `json:"user_id"`
		Type   string `json:"user_type"`
		Record any    `json:"record"`
	}{c.user.ID, "person", c.user.Person}
	if c.user.Bot != nil {
		answer.Type, answer.Record = "bot", c.user.Bot
	}
	return c.ok(answer)
}

func ownPermissions(c *call) error { return c.ok(c.user.Permissions) }

// tied is the account of a resource of bots below one, nil for bots of the system.
func (c *call) tied() (*int64, error) {
	if !strings.HasPrefix(c.resource, "accounts/") {
		return nil, nil
	}
	account, err := c.known()
	return &account, err
}

// member is a bot of the resource: its account, nil for none, and its number.
func (c *call) member() (account *int64, id int64, err error) {
	if account, err = c.tied(); err != nil {
		return nil, 0, err
	}
	arg := 0
	if account != nil {
		arg = 1
	}
	id, err = c.id(arg, "bot")
	return account, id, err
}

// briefBot is a bot in a list.
type briefBot struct {
	ID            int64   `json:"id"`
	Name          string  `json:"name"`
	Protocol      *string `json:"protocol"`
	TiedToAccount *int64  `json:"tied_to_account"`
	InsertTime    int64   `json:"insert_time"`
	LastLogin     *int64  `json:"last_login"`
}

// bots are those of an account, or of the system. Who may not see those sees their names only (section 8).
func bots(c *call) error {
	account, err := c.tied()
	if err != nil {
		return err
	}
	all, err := c.s.inventory.Bots(c.ctx, account)
	if err != nil {
		return err
	}
	brief := make([]briefBot, len(all))
	for i, b := range all {
		brief[i] = briefBot{ID: b.ID, Name: b.Name, Protocol: b.Protocol, TiedToAccount: b.TiedToAccount}
		if c.user.Allows(http.MethodGet, c.resource) {
			brief[i].InsertTime, brief[i].LastLogin = b.InsertTime, b.LastLogin
		}
	}
	return list(c, brief, nil)
}

func bot(c *call) error {
	account, id, err := c.member()
	if err != nil {
		return err
	}
	found, err := c.s.inventory.Bot(c.ctx, account, id)
	if err != nil {
		return missing(err, "bot")
	}
	return c.ok(found)
}

// botBody reads a bot. Those of an account can have a configuration, which is text or JSON.
func (c *call) botBody(account *int64) (*inventory.Bot, error) {
	var body struct {
		Name     string          `json:"name"`
		Protocol *string         `json:"protocol"`
		Config   json.RawMessage `json:"config"`
	}
	optional := []string{"protocol"}
	if account != nil {
		optional = append(optional, "config")
	}
	if err := c.decode(&body, []string{"name"}, optional); err != nil {
		return nil, err
	}
	b := &inventory.Bot{Name: body.Name, Protocol: body.Protocol, TiedToAccount: account}
	if len(body.Config) > 0 && string(body.Config) != "null" {
		text := string(body.Config)
		if text[0] == '"' {
			if err := json.Unmarshal(body.Config, &text); err != nil || !json.Valid([]byte(text)) {
				return nil, invalid("config must be JSON in a text")
			}
		}
		b.Config = &text
	}
	return b, nil
}

func addBot(c *call) error {
	account, err := c.tied()
	if err != nil {
		return err
	}
	b, err := c.botBody(account)
	if err != nil {
		return err
	}
	id, err := c.s.inventory.AddBot(c.ctx, b)
	if err != nil {
		return missing(err, "account")
	}
	made, err := c.s.inventory.Bot(c.ctx, account, id)
	if err != nil {
		return err
	}
	c.json(http.StatusCreated, made)
	return nil
}

func changeBot(c *call) error {
	account, id, err := c.member()
	if err != nil {
		return err
	}
	b, err := c.botBody(account)
	if err != nil {
		return err
	}
	b.ID = id
	if err := c.s.inventory.ChangeBot(c.ctx, b); err != nil {
		return missing(err, "bot")
	}
	return c.done()
}

func deleteBot(c *call) error {
	account, id, err := c.member()
	if err != nil {
		return err
	}
	if id == c.user.ID {
		return failed(http.StatusForbidden, "Can't delete yourself")
	}
	if err := c.s.inventory.DeleteBot(c.ctx, account, id); err != nil {
		return missing(err, "bot")
	}
	return c.done()
}

// botToken is for those who could do all that the bot can.
func botToken(c *call) error {
	account, id, err := c.member()
	if err != nil {
		return err
	}
	if _, err := c.s.inventory.Bot(c.ctx, account, id); err != nil {
		return missing(err, "bot")
	}
	held, err := c.s.inventory.Permissions(c.ctx, id)
	if err != nil {
		return err
	}
	above, _ := strings.CutSuffix(c.resource, "/"+c.args[len(c.args)-1]+"/token")
	if !c.user.Allows(http.MethodPost, above) || slices.ContainsFunc(held, func(p inventory.Permission) bool { return !c.user.MayGrant(p) }) {
		return errForbidden
	}
	token, err := c.s.inventory.Token(c.ctx, account, id)
	if err != nil {
		return missing(err, "bot")
	}
	c.s.log.Info("the token of a bot was read", "bot", id, "by", c.user.ID)
	return c.ok(map[string]string{"token": token})
}

// holder is the user whose permissions the resource is about.
func (c *call) holder() (int64, error) {
	kind, _, _ := strings.Cut(c.resource, "/")
	if kind == "accounts" || kind == "bots" {
		account, id, err := c.member()
		if err != nil {
			return 0, err
		}
		_, err = c.s.inventory.Bot(c.ctx, account, id)
		return id, missing(err, "bot")
	}
	id, err := c.id(0, "user")
	if err != nil {
		return 0, err
	}
	if kind == "persons" {
		_, err = c.s.inventory.Person(c.ctx, id)
	} else {
		_, err = c.s.inventory.User(c.ctx, id)
	}
	return id, missing(err, "user")
}

func permissions(c *call) error {
	holder, err := c.holder()
	if err != nil {
		return err
	}
	all, err := c.s.inventory.Permissions(c.ctx, holder)
	return list(c, all, err)
}

// addPermission gives what the user has itself, and not to itself (section 4.2).
func addPermission(c *call) error {
	holder, err := c.holder()
	var a *answer
	if errors.As(err, &a) && a.status == http.StatusNotFound && !strings.HasPrefix(c.resource, "accounts/") {
		return invalid("there is no such user")
	}
	if err != nil {
		return err
	}
	var p inventory.Permission
	if err := c.decode(&p, []string{"resource_prefix", "methods"}, nil); err != nil {
		return err
	}
	if p.ResourcePrefix != nil {
		short := strings.Trim(*p.ResourcePrefix, "/")
		p.ResourcePrefix = &short
	}
	if holder == c.user.ID || !c.user.MayGrant(p) {
		return errForbidden
	}
	id, err := c.s.inventory.AddPermission(c.ctx, holder, &p)
	if err != nil {
		return missing(err, "user")
	}
	if !strings.HasPrefix(c.resource, "accounts/") {
		return c.created(id)
	}
	c.json(http.StatusCreated, struct {
		ID      int64    `json:"id"`
		User    int64    `json:"user_id"`
		Prefix  *string  `json:"resource_prefix"`
		Methods []string `json:"methods"`
	}{id, holder, p.ResourcePrefix, p.Methods})
	return nil
}

func deletePermission(c *call) error {
	holder, err := c.holder()
	if err != nil {
		return err
	}
	id, err := c.id(len(c.args)-1, "permission")
	if err != nil {
		return err
	}
	if holder == c.user.ID {
		return errForbidden
	}
	held, err := c.s.inventory.Permissions(c.ctx, holder)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(held, func(p inventory.Permission) bool { return p.ID == id })
	if i < 0 {
		return notFound("permission")
	}
	if !c.user.MayGrant(held[i]) {
		return errForbidden
	}
	if err := c.s.inventory.DeletePermission(c.ctx, holder, id); err != nil {
		return missing(err, "permission")
	}
	return c.done()
}

func persons(c *call) error {
	all, err := c.s.inventory.Persons(c.ctx)
	return list(c, all, err)
}

func person(c *call) error {
	id, err := c.id(0, "person")
	if err != nil {
		return err
	}
	found, err := c.s.inventory.Person(c.ctx, id)
	if err != nil {
		return missing(err, "person")
	}
	return c.ok(found)
}

func user(c *call) error {
	id, err := c.id(0, "user")
	if err != nil {
		return err
	}
	found, err := c.s.inventory.User(c.ctx, id)
	if err != nil {
		return missing(err, "user")
	}
	if found.Bot != nil {
		return c.ok(found.Bot)
	}
	return c.ok(found.Person)
}

// personBody reads a person with a password. The first one has a typed body.
func (c *call) personBody(first bool) (*inventory.Person, string, error) {
	var body struct {
		Name     string `json:"name"`
		Username string `json:"username"`
		Password string `json:"password"`
		Email    string `json:"email"`
		Timezone string `json:"timezone"`
	}
	err := c.decode(&body, []string{"name", "username", "password", "email"}, []string{"timezone"})
	var a *answer
	if first && errors.As(err, &a) && a.status == http.StatusBadRequest {
		err = unprocessable("__root__", strings.TrimPrefix(a.text, "Input validation failed: "))
	}
	return &inventory.Person{Name: body.Name, Username: body.Username, Email: body.Email, Timezone: body.Timezone}, body.Password, err
}

func addPerson(c *call) error {
	p, password, err := c.personBody(false)
	if err != nil {
		return err
	}
	id, err := c.s.inventory.AddPerson(c.ctx, p, password)
	if err != nil {
		return err
	}
	return c.created(id)
}

func changePerson(c *call) error {
	id, err := c.id(0, "person")
	if err != nil {
		return err
	}
	var body struct {
		Name     string `json:"name"`
		Username string `json:"username"`
		Email    string `json:"email"`
		Timezone string `json:"timezone"`
	}
	if err := c.decode(&body, []string{"name", "username", "email"}, []string{"timezone"}); err != nil {
		return err
	}
	err = c.s.inventory.ChangePerson(c.ctx, &inventory.Person{ID: id, Name: body.Name, Username: body.Username, Email: body.Email, Timezone: body.Timezone})
	if err != nil {
		return missing(err, "person")
	}
	return c.done()
}

func deletePerson(c *call) error {
	id, err := c.id(0, "person")
	if err != nil {
		return err
	}
	if id == c.user.ID {
		return failed(http.StatusForbidden, "Can't delete yourself")
	}
	if err := c.s.inventory.DeletePerson(c.ctx, id); err != nil {
		return missing(err, "person")
	}
	return c.done()
}

// changePassword asks for the old one, which also those who may do everything must know.
func changePassword(c *call) error {
	id, err := c.id(0, "person")
	if err != nil {
		return err
	}
	var body struct {
		Old string `json:"old_password"`
		New string `json:"new_password"`
	}
	if err := c.decode(&body, []string{"old_password", "new_password"}, nil); err != nil {
		return err
	}
	p, err := c.s.inventory.Person(c.ctx, id)
	if err != nil {
		return missing(err, "person")
	}
	who := "password of " + p.Username
	if !c.s.logins.allowed(who, c.s.now()) {
		return &answer{status: http.StatusTooManyRequests, detail: "Too many wrong passwords, try again in a minute", after: 60}
	}
	if _, err := c.s.inventory.ByPassword(c.ctx, p.Username, body.Old); err != nil {
		if errors.Is(err, inventory.ErrNotFound) {
			c.s.logins.note(who, c.s.now())
			return failed(http.StatusBadRequest, "Invalid old password")
		}
		return err
	}
	if err := c.s.inventory.SetPassword(c.ctx, id, body.New); err != nil {
		return missing(err, "person")
	}
	return c.done()
}
