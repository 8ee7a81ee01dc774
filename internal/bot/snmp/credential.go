package snmp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// credential is how a device is asked (section 4.5); what is behind version 3 may be left out.
type credential struct {
	Version   string `json:"version"` // snmpv1, snmpv2c or snmpv3
	Community string `json:"snmpv12_community"`

	User    string `json:"snmpv3_securityName"`
	Level   string `json:"snmpv3_securityLevel"` // noAuthNoPriv, authNoPriv or authPriv
	Auth    string `json:"snmpv3_authProtocol"`
	AuthKey string `json:"snmpv3_authKey"`
	Priv    string `json:"snmpv3_privProtocol"`
	PrivKey string `json:"snmpv3_privKey"`
	Context string `json:"context"`

	Port           bot.Number  `json:"port"`
	Timeout        bot.Number  `json:"timeout"` // of one request, in seconds
	Retries        *bot.Number `json:"retries"`
	MaxRepetitions bot.Number  `json:"max_repetitions"` // rows in one answer of a walk
	MaxOIDs        bot.Number  `json:"max_oids"`        // in one request
}

// What is used when credentials do not say it.
const (
	defaultPort        = 161
	defaultTimeout     = 1 // seconds
	defaultRetries     = 3
	defaultRepetitions = 25
	defaultOIDs        = 50
)

var authProtocols = map[string]gosnmp.SnmpV3AuthProtocol{
	"MD5": gosnmp.MD5, "SHA": gosnmp.SHA, "SHA1": gosnmp.SHA, "SHA224": gosnmp.SHA224, "SHA256": gosnmp.SHA256, "SHA384": gosnmp.SHA384, "SHA512": gosnmp.SHA512,
}

// The keys of long AES are made in two ways; the C ones are those of Cisco's devices.
var privProtocols = map[string]gosnmp.SnmpV3PrivProtocol{
	"DES": gosnmp.DES, "AES": gosnmp.AES, "AES128": gosnmp.AES, "AES192": gosnmp.AES192, "AES256": gosnmp.AES256, "AES192C": gosnmp.AES192C, "AES256C": gosnmp.AES256C,
}

// session is how a device is asked once; nothing is open yet.
func newSession(device *collector.JobConfig) (*gosnmp.GoSNMP, error) {
	var entity struct {
		IPv4 string `json:"ipv4"`
	}
	if err := bot.Details(device.Details, &entity); err != nil {
		return nil, err
	}
	if entity.IPv4 == "" {
		return nil, errors.New("cannot ask the device: its details have no address, like {\"ipv4\": \"192.0.2.1\"}")
	}
	var c credential
	if err := bot.Details(device.CredentialDetails, &c); err != nil {
		return nil, errors.New("cannot use the details of the credential: they are not as they should be") // they are secret
	}
	retries := float64(defaultRetries)
	if c.Retries != nil {
		retries = float64(*c.Retries)
	}
	s := &gosnmp.GoSNMP{
		Target: entity.IPv4, Port: uint16(within(float64(c.Port), defaultPort, 1, 65535)), Transport: "udp",
		Timeout: time.Duration(within(float64(c.Timeout), defaultTimeout, 0.01, 60) * float64(time.Second)), Retries: int(min(max(retries, 0), 20)),
		MaxOids: int(within(float64(c.MaxOIDs), defaultOIDs, 1, gosnmp.MaxOids)), MaxRepetitions: uint32(within(float64(c.MaxRepetitions), defaultRepetitions, 1, 255)),
	}
	return s, c.into(s)
}

// within is value between two bounds, and usual when it is not given.
func within(value, usual, least, most float64) float64 {
	if value == 0 {
		return usual
	}
	return min(max(value, least), most)
}

// into sets version and keys. Errors quote no secrets.
func (c *credential) into(s *gosnmp.GoSNMP) error {
	version := byte(0)
	if len(c.Version) > 5 {
		version = c.Version[5]
	}
	switch version {
	case '1':
		s.Version = gosnmp.Version1
	case '2':
		s.Version = gosnmp.Version2c
	case '3':
		s.Version = gosnmp.Version3
		return c.user(s)
	default:
		return fmt.Errorf("cannot use the version %q: it must be snmpv1, snmpv2c or snmpv3", shortened(c.Version))
	}
	if len(c.Community) > 127 {
		return errors.New("cannot use the community: it has more than 127 bytes")
	}
	s.Community = c.Community
	return nil
}

// user sets what version 3 needs.
func (c *credential) user(s *gosnmp.GoSNMP) error {
	keys := &gosnmp.UsmSecurityParameters{UserName: c.User, AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv}
	s.SecurityModel, s.SecurityParameters, s.ContextName = gosnmp.UserSecurityModel, keys, c.Context
	s.MsgFlags = gosnmp.NoAuthNoPriv
	known := true
	switch strings.ToLower(cmp.Or(c.Level, "noAuthNoPriv")) {
	case "noauthnopriv":
		return nil
	case "authpriv":
		s.MsgFlags = gosnmp.AuthPriv
		if keys.PrivacyProtocol, known = privProtocols[protocolName(c.Priv)]; !known {
			return fmt.Errorf("cannot use the privProtocol %q: it must be DES, AES, AES192, AES256, AES192C or AES256C", shortened(c.Priv))
		}
		if keys.PrivacyPassphrase = c.PrivKey; len(c.PrivKey) < 8 {
			return errors.New("cannot use the privKey: it has less than 8 characters")
		}
	case "authnopriv":
		s.MsgFlags = gosnmp.AuthNoPriv
	default:
		return fmt.Errorf("cannot use the securityLevel %q: it must be noAuthNoPriv, authNoPriv or authPriv", shortened(c.Level))
	}
	if keys.AuthenticationProtocol, known = authProtocols[protocolName(c.Auth)]; !known {
		return fmt.Errorf("cannot use the authProtocol %q: it must be MD5, SHA, SHA224, SHA256, SHA384 or SHA512", shortened(c.Auth))
	}
	if keys.AuthenticationPassphrase = c.AuthKey; len(c.AuthKey) < 8 {
		return errors.New("cannot use the authKey: it has less than 8 characters")
	}
	return nil
}

// protocolName is SHA256 for sha-256.
func protocolName(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "")) }

// dial opens the socket of s. What is called in the end closes it; when ctx ends, requests do.
func dial(ctx context.Context, s *gosnmp.GoSNMP) (hangUp func(), err error) {
	s.Context = ctx
	if err := s.Connect(); err != nil {
		return nil, fmt.Errorf("cannot ask %s: %w", net.JoinHostPort(s.Target, fmt.Sprint(s.Port)), err)
	}
	connection := s.Conn
	stop := context.AfterFunc(ctx, func() { _ = connection.SetDeadline(time.Now()) }) // the request that goes on fails
	return func() { stop(); _ = s.Close() }, nil
}
