package probe

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"
)

// expires is how many seconds are left until the first of some certificates ends.
func expires(all []*x509.Certificate) float64 {
	first := slices.MinFunc(all, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	return time.Until(first.NotAfter).Seconds()
}

// phases are when the parts of a request began and ended, of the last one when there are redirections.
type phases struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (p *phases) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = make(map[string]time.Time)
	}
	p.at[what] = time.Now()
}

func (p *phases) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { p.note("dns") },
		DNSDone:              func(httptrace.DNSDoneInfo) { p.note("dns end") },
		ConnectStart:         func(string, string) { p.note("connect") },
		ConnectDone:          func(string, string, error) { p.note("connect end") },
		TLSHandshakeStart:    func() { p.note("tls") },
		TLSHandshakeDone:     func(tls.ConnectionState, error) { p.note("tls end") },
		WroteRequest:         func(httptrace.WroteRequestInfo) { p.note("first_byte") },
		GotFirstResponseByte: func() { p.note("first_byte end") },
	}
}

// into adds the seconds of every phase that there was.
func (p *phases) into(found measured) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, phase := range []string{"dns", "connect", "tls", "first_byte"} {
		begin, began := p.at[phase]
		end, ended := p.at[phase+" end"]
		if began && ended && !end.Before(begin) {
			found[phase] = end.Sub(begin).Seconds()
		}
	}
}
