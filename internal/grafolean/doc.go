// Package grafolean is the REST API that bots speak, and those who administer them (specification
// of the collector contract, sections 2 to 4): unmodified bots run against it when their
// backend URL is Weir's address with /api. What there is to poll it has from internal/inventory;
// values are points of the schema collector:value.
//
// What is optional in the specification and does not concern bots is not here:
// dashboards with their widgets, sign-up and password reset by mail, and the notifications over MQTT.
package grafolean
