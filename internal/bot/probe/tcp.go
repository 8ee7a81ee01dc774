package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"

	"github.com/weirhq/weir/collector"
	"github.com/weirhq/weir/internal/bot"
)

// TCP opens connections. Details of a sensor:
//
//	address     "mail.example.org:25"; {ipv4} is that of the entity
//	port        instead of address: the port of the entity's address
//	tls         true to shake hands too
//	insecure    true for a certificate that nobody vouches for
//	send        what to write first
//	expect      a regular expression that what comes back must match, within the first 4 KiB
//	timeout     seconds, 10 when it is not given
//	output_path where values go below tcp
//
// Values: up (1 when all that is expected is there, otherwise 0), seconds of connect, tls and total, and
// cert_expires (seconds until the first certificate ends).
var TCP bot.Bot = prober{"tcp", probeTCP}

type tcpDetails struct {
	common
	Address  string     `json:"address"`
	Port     bot.Number `json:"port"`
	TLS      bool       `json:"tls"`
	Insecure bool       `json:"insecure"`
	Send     string     `json:"send"`
	Expect   string     `json:"expect"`
}

// maxBanner is how much of an answer is looked at, in bytes.
const maxBanner = 4096

func probeTCP(ctx context.Context, device *collector.JobConfig, sensor *collector.SensorConfig) (measured, string, error) {
	var d tcpDetails
	if err := bot.Details(sensor.Details, &d); err != nil {
		return nil, "", err
	}
	to, err := filled(d.Address, device)
	if err != nil {
		return nil, "", err
	}
	if to == "" && d.Port != 0 {
		host, err := address(device)
		if err != nil {
			return nil, "", err
		}
		to = net.JoinHostPort(host, strconv.Itoa(int(d.Port)))
	}
	host, _, err := net.SplitHostPort(to)
	if err != nil || host == "" {
		return nil, "", fmt.Errorf("cannot use %q: it must be like mail.example.org:25", to)
	}
	expect, err := regexp.Compile(d.Expect)
	if err != nil {
		return nil, "", fmt.Errorf("cannot use expect: %w", err)
	}
	ctx, cancel := d.deadline(ctx)
	defer cancel()
	found := measured{"up": 0}
	begin := time.Now()
	defer func() { found["total"] = time.Since(begin).Seconds() }()
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", to)
	if err != nil {
		return found, d.OutputPath, nil
	}
	defer connection.Close()
	found["connect"] = time.Since(begin).Seconds()
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return found, d.OutputPath, nil
		}
	}
	if d.TLS {
		secured := tls.Client(connection, &tls.Config{ServerName: host, InsecureSkipVerify: d.Insecure}) //nolint:gosec // only when asked for
		before := time.Now()
		if err := secured.HandshakeContext(ctx); err != nil {
			return found, d.OutputPath, nil
		}
		found["tls"] = time.Since(before).Seconds()
		found["cert_expires"] = expires(secured.ConnectionState().PeerCertificates)
		connection = secured
	}
	if _, err := connection.Write([]byte(d.Send)); d.Send != "" && err != nil {
		return found, d.OutputPath, nil
	}
	var banner []byte
	part := make([]byte, maxBanner)
	for d.Expect != "" && !expect.Match(banner) {
		n, err := connection.Read(part[:maxBanner-len(banner)])
		banner = append(banner, part[:n]...)
		if (err != nil || len(banner) == maxBanner) && !expect.Match(banner) {
			return found, d.OutputPath, nil
		}
	}
	found["up"] = 1
	return found, d.OutputPath, nil
}
