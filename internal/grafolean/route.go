package grafolean

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/weirhq/weir/internal/inventory"
)

// call is one request.
type call struct {
	s        *Server
	w        http.ResponseWriter
	r        *http.Request
	ctx      context.Context
	user     *inventory.User // nil for a request that needs no authentication
	resource string          // the path below /api without slashes at its ends
	args     []string        // segments that stand for {}
}

// handler answers a request, or returns why not and has written nothing.
type handler func(*call) error

// route is a resource with what can be done with it. {} is any segment.
type route struct {
	pattern string
	methods map[string]handler
	open    []string // methods without authentication
	any     bool     // GET needs no permission
}

type methods = map[string]handler

// routes are all resources (section 4.3).
var routes = []route{
	{pattern: "status/info", methods: methods{"GET": statusInfo}, open: []string{"GET"}},
	{pattern: "profile", methods: methods{"GET": profile}, any: true},
	{pattern: "profile/permissions", methods: methods{"GET": ownPermissions}, any: true},

	{pattern: "admin/first", methods: methods{"POST": addFirst}, open: []string{"POST"}},
	{pattern: "admin/migratedb", methods: methods{"POST": func(c *call) error { return c.done() }}, open: []string{"POST"}},
	{pattern: "admin/accounts", methods: methods{"GET": allAccounts, "POST": addAccount}},
	{pattern: "auth/login", methods: methods{"POST": login}, open: []string{"POST"}},
	{pattern: "auth/refresh", methods: methods{"POST": refresh}, open: []string{"POST"}},

	{pattern: "accounts", methods: methods{"GET": accounts}, any: true},
	{pattern: "accounts/{}", methods: methods{"GET": account, "PUT": renameAccount}},
	{pattern: "accounts/{}/entities", methods: methods{"GET": entities, "POST": addEntity}},
	{pattern: "accounts/{}/entities/{}", methods: methods{"GET": entity, "PUT": changeEntity, "DELETE": deleteEntity}},
	{pattern: "accounts/{}/credentials", methods: methods{"GET": credentials, "POST": addCredential}},
	{pattern: "accounts/{}/credentials/{}", methods: methods{"GET": credential, "PUT": changeCredential, "DELETE": deleteCredential}},
	{pattern: "accounts/{}/sensors", methods: methods{"GET": sensors, "POST": addSensor}},
	{pattern: "accounts/{}/sensors/{}", methods: methods{"GET": sensor, "PUT": changeSensor, "DELETE": deleteSensor}},

	{pattern: "accounts/{}/values", methods: methods{"POST": postValues, "PUT": putValues}},
	{pattern: "accounts/{}/values/{}", methods: methods{"GET": values}},
	{pattern: "accounts/{}/getvalues", methods: methods{"POST": getValues}},
	{pattern: "accounts/{}/getaggrvalues", methods: methods{"POST": getAggregated}},
	{pattern: "accounts/{}/topvalues", methods: methods{"GET": topValues}},
	{pattern: "accounts/{}/paths", methods: methods{"GET": paths}},
	{pattern: "accounts/{}/paths/{}", methods: methods{"GET": path, "PUT": renamePath, "DELETE": deletePath}},

	{pattern: "bots", methods: methods{"GET": bots, "POST": addBot}, any: true},
	{pattern: "bots/{}", methods: methods{"GET": bot, "PUT": changeBot, "DELETE": deleteBot}},
	{pattern: "bots/{}/token", methods: methods{"GET": botToken}},
	{pattern: "bots/{}/permissions", methods: methods{"GET": permissions, "POST": addPermission}},
	{pattern: "bots/{}/permissions/{}", methods: methods{"DELETE": deletePermission}},
	{pattern: "accounts/{}/bots", methods: methods{"GET": bots, "POST": addBot}},
	{pattern: "accounts/{}/bots/{}", methods: methods{"GET": bot, "PUT": changeBot, "DELETE": deleteBot}},
	{pattern: "accounts/{}/bots/{}/token", methods: methods{"GET": botToken}},
	{pattern: "accounts/{}/bots/{}/permissions", methods: methods{"GET": permissions, "POST": addPermission}},
	{pattern: "accounts/{}/bots/{}/permissions/{}", methods: methods{"DELETE": deletePermission}},

	{pattern: "persons", methods: methods{"GET": persons, "POST": addPerson}},
	{pattern: "persons/{}", methods: methods{"GET": person, "PUT": changePerson, "DELETE": deletePerson}},
	{pattern: "persons/{}/password", methods: methods{"POST": changePassword}},
	{pattern: "persons/{}/permissions", methods: methods{"GET": permissions, "POST": addPermission}},
	{pattern: "persons/{}/permissions/{}", methods: methods{"DELETE": deletePermission}},
	{pattern: "users/{}", methods: methods{"GET": user}},
	{pattern: "users/{}/permissions", methods: methods{"GET": permissions, "POST": addPermission}},
	{pattern: "users/{}/permissions/{}", methods: methods{"DELETE": deletePermission}},
}

// find is the route of a resource with what stands for {}; nil when there is none.
func find(resource string) (*route, []string) {
	segments := strings.Split(resource, "/")
next:
	for i := range routes {
		pattern := strings.Split(routes[i].pattern, "/")
		if len(pattern) != len(segments) {
			continue
		}
		var args []string
		for j, p := range pattern {
			switch {
			case p == "{}":
				args = append(args, segments[j])
			case p != segments[j]:
				continue next
			}
		}
		return &routes[i], args
	}
	return nil, nil
}

// ServeHTTP implements http.Handler: who asks comes first, then whether there is such a
// resource, then whether it may be used (sections 3.3 and 4.2).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{s: s, w: w, r: r, ctx: r.Context()}
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

func (c *call) serve() error {
	c.resource = strings.Trim(strings.TrimPrefix(c.r.URL.Path, "/api/"), "/")
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	route, args := find(c.resource)
	if route == nil || !slices.Contains(route.open, method) {
		user, err := c.authenticate()
		if err != nil {
			return err
		}
		c.user = user
	}
	if route == nil {
		return &answer{status: http.StatusNotFound, detail: "Not Found"}
	}
	handle := route.methods[method]
	if handle == nil {
		return &answer{status: http.StatusMethodNotAllowed, detail: "Method Not Allowed"}
	}
	if c.user != nil && !(route.any && method == http.MethodGet) && !c.user.Allows(method, c.resource) {
		return errForbidden
	}
	c.args = args
	return handle(c)
}

// id is an argument that is a number; what is the thing it is the number of.
func (c *call) id(arg int, what string) (int64, error) {
	id, err := strconv.ParseInt(c.args[arg], 10, 64)
	if err != nil || id < 1 || id > 1<<31-1 || strconv.FormatInt(id, 10) != c.args[arg] {
		return 0, notFound(what)
	}
	return id, nil
}

// account is the account of the resource; it need not exist.
func (c *call) account() (int64, error) { return c.id(0, "account") }

// within are the account and the number of a thing inside it.
func (c *call) within(what string) (account, id int64, err error) {
	if account, err = c.account(); err != nil {
		return 0, 0, err
	}
	id, err = c.id(1, what)
	return account, id, err
}
