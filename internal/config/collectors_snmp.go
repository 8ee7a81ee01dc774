package config

import (
	"cmp"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot/snmp"
)

// SNMP is what is asked over SNMP, and how.
type SNMP struct {
	Version, Community                                 string
	User, Level, Auth, AuthKey, Priv, PrivKey, Context string
	Timeout                                            time.Duration // of one request
	Retries, Repetitions                               int
	Targets                                            []SNMPTarget
	Sensors                                            []SNMPSensor
}

// SNMPTarget is a device to ask.
type SNMPTarget struct {
	Name, Address string
	Port          int
}

// SNMPSensor is what is fetched and what becomes of it.
type SNMPSensor struct {
	OIDs                   []SNMPOID
	Expression, OutputPath string
	Interval               time.Duration // 0 for that of the entry
}

// SNMPOID is one OID of a sensor.
type SNMPOID struct{ OID, Method string }

func newSNMP() SNMP {
	return SNMP{Version: "snmpv2c", Community: "public", Level: "authPriv", Auth: "SHA", Priv: "AES", Timeout: time.Second, Retries: 3, Repetitions: 25}
}

// usualSNMP is what is fetched when no sensors are given: how long devices are up, and the traffic of their
// interfaces.
var usualSNMP = []SNMPSensor{
	{OIDs: []SNMPOID{{"1.3.6.1.2.1.1.3.0", "get"}}, Expression: "$1 / 100", OutputPath: "system.uptime"},
	{OIDs: []SNMPOID{{"1.3.6.1.2.1.31.1.1.1.1", "walk"}, {"1.3.6.1.2.1.31.1.1.1.6", "walk"}}, Expression: "$2", OutputPath: "if.in-octets.{$index}.{$1}"},
	{OIDs: []SNMPOID{{"1.3.6.1.2.1.31.1.1.1.1", "walk"}, {"1.3.6.1.2.1.31.1.1.1.10", "walk"}}, Expression: "$2", OutputPath: "if.out-octets.{$index}.{$1}"},
}

func snmpOptions(c *Collector) []option {
	s := &c.SNMP
	return []option{
		{name: "targets", value: list[SNMPTarget]{to: &s.Targets, what: "devices", fresh: SNMPTarget{Port: 161}, entry: func(t *SNMPTarget) value {
			return section{options: []option{
				{name: "address", value: text{to: &t.Address, what: "an address or a name", check: host, expand: true}, required: true, example: "192.0.2.1", doc: "An IPv4 address, an IPv6 address, or a name."},
				{name: "port", value: whole{&t.Port, 1, 65535}, doc: "The UDP port."},
				{name: "name", value: text{to: &t.Name, check: plainName}, example: "core", doc: "What paths of values have, as `target.NAME`; the address when it is not given."},
			}}
		}}, example: "[{address: 192.0.2.1, name: core}]", doc: "The devices."},
		{name: "version", value: choice{&s.Version, []string{"snmpv1", "snmpv2c", "snmpv3"}}, doc: "How devices are asked."},
		{name: "community", value: text{to: &s.Community, expand: true, secret: true, known: "public"}, example: "${WEIR_SECRET}", doc: "The community of versions 1 and 2c."},
		{name: "security_name", value: text{to: &s.User, expand: true}, example: "weir", doc: "The user of version 3."},
		{name: "security_level", value: choice{&s.Level, []string{"noAuthNoPriv", "authNoPriv", "authPriv"}}, doc: "What version 3 does to messages: nothing, authenticate them, or encrypt them too."},
		{name: "auth_protocol", value: choice{&s.Auth, []string{"MD5", "SHA", "SHA224", "SHA256", "SHA384", "SHA512"}}, doc: "How messages of version 3 are authenticated."},
		{name: "auth_key", value: text{to: &s.AuthKey, expand: true, secret: true}, example: "${WEIR_SECRET}", doc: "The passphrase of the user, 8 characters or more."},
		{name: "priv_protocol", value: choice{&s.Priv, []string{"DES", "AES", "AES192", "AES256", "AES192C", "AES256C"}}, doc: "How messages of version 3 are encrypted; those that end in `C` make keys as devices of Cisco do."},
		{name: "priv_key", value: text{to: &s.PrivKey, expand: true, secret: true}, example: "${WEIR_SECRET}", doc: "The passphrase for that, 8 characters or more."},
		{name: "context", value: text{to: &s.Context}, example: "vlan-1", doc: "The context of version 3."},
		{name: "timeout", value: duration{to: &s.Timeout, least: 10 * time.Millisecond, max: time.Minute}, doc: "How long an answer may take."},
		{name: "retries", value: whole{&s.Retries, 0, 20}, doc: "How often a request is repeated that has no answer."},
		{name: "max_repetitions", value: whole{&s.Repetitions, 1, 255}, doc: "How many rows a device is asked for at once in a walk."},
		{name: "sensors", value: list[SNMPSensor]{to: &s.Sensors, what: "sensors", entry: snmpSensor},
			example: `[{oids: [{oid: 1.3.6.1.4.1.2021.10.1.5.1}], expression: "$1 / 100", output_path: load.1m}]`,
			doc:     "What is fetched. When the list is empty: how long devices are up, `system.uptime`, and bytes per second of their interfaces, `if.in-octets.INDEX.NAME` and `if.out-octets.INDEX.NAME`."},
	}
}

func snmpSensor(s *SNMPSensor) value {
	return section{options: []option{
		{name: "oids", value: list[SNMPOID]{to: &s.OIDs, what: "OIDs", some: true, fresh: SNMPOID{Method: "get"}, entry: func(o *SNMPOID) value {
			return section{options: []option{
				{name: "oid", value: text{to: &o.OID}, required: true, example: "1.3.6.1.2.1.1.3.0", doc: "The OID, in numbers."},
				{name: "fetch_method", value: choice{&o.Method, []string{"get", "walk"}}, doc: "Get its value, or walk the table below it."},
			}}
		}}, required: true, example: "[{oid: 1.3.6.1.2.1.1.3.0}]", doc: "What is fetched; `$1` is the value of the first one."},
		{name: "expression", value: text{to: &s.Expression}, required: true, example: "$1 / 100", doc: "What is made of the values. Counters are rates per second."},
		{name: "output_path", value: text{to: &s.OutputPath}, required: true, example: "system.uptime", doc: "Where values go, below `target.NAME.snmp`; `{$index}` is that of a row, `{$1}` the text of a value."},
		{name: "interval", value: duration{to: &s.Interval, max: 366 * 24 * time.Hour, off: "that of the bot"}, doc: "How often, in whole seconds."},
	}}
}

func snmpDevices(c *Collector) (all []*collector.JobConfig) {
	s := &c.SNMP
	sensors := s.Sensors
	if len(sensors) == 0 {
		sensors = usualSNMP
	}
	var polled []collector.SensorConfig
	for i := range sensors {
		polled = append(polled, collector.SensorConfig{Interval: cmp.Or(sensors[i].Interval, c.Interval), Details: encoded(sensors[i].details())})
	}
	for _, t := range s.Targets {
		device := c.device(cmp.Or(t.Name, t.Address), object{"ipv4": t.Address}, s.credential(t.Port), nil)
		device.Sensors = polled
		all = append(all, device)
	}
	return all
}

// details are those of a sensor as the bot reads them.
func (s *SNMPSensor) details() object {
	var oids []object
	for _, o := range s.OIDs {
		oids = append(oids, object{"oid": o.OID, "fetch_method": o.Method})
	}
	return object{"oids": oids, "expression": s.Expression, "output_path": s.OutputPath}
}

func (s *SNMP) credential(port int) object {
	made := object{"version": s.Version, "port": port, "timeout": s.Timeout.Seconds(), "retries": s.Retries, "max_repetitions": s.Repetitions}
	if s.Version != "snmpv3" {
		made["snmpv12_community"] = s.Community
		return made
	}
	for key, value := range map[string]string{
		"snmpv3_securityName": s.User, "snmpv3_securityLevel": s.Level, "snmpv3_authProtocol": s.Auth, "snmpv3_authKey": s.AuthKey,
		"snmpv3_privProtocol": s.Priv, "snmpv3_privKey": s.PrivKey, "context": s.Context,
	} {
		made[key] = value
	}
	return made
}

// checkSNMP finds what the bot could not use.
func (c *Collector) checkSNMP() (reasons []string) {
	if c.Kind != "snmp" {
		return nil
	}
	for _, sensor := range c.SNMP.Sensors {
		if sensor.Interval%time.Second != 0 {
			reasons = append(reasons, "the interval "+FormatDuration(sensor.Interval)+" of a sensor is not a whole number of seconds")
		}
	}
	if devices := c.Devices(); len(devices) > 0 { // the others are asked in the same way
		for _, wrong := range snmp.Check(devices[0]) {
			reasons = append(reasons, wrong.Error())
		}
	}
	return reasons
}
