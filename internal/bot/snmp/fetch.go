package snmp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gosnmp/gosnmp"
)

// Bounds of what devices may tell.
const (
	maxRows = 20_000 // of one walk
	maxArcs = 128    // of an OID

)

// variable is what a device told under an OID.
type variable struct {
	oid     string // without a dot before it
	index   string // behind the OID that was walked, joined by dashes; "" for one that was not
	number  float64
	numeric bool
	counter uint64
	bits    int    // of a counter, 32 or 64; 0 for what is none
	text    string // as it goes into paths and, when it is a number, into expressions
	at      time.Time
}

// answer is what came of one OID.
type answer struct {
	one  *variable // of a get
	rows []variable
	at   map[string]int // rows by index, made when it is needed
	err  error
}

// byIndex is the row with an index, nil for none.
func (a *answer) byIndex(index string) *variable {
	if a.at == nil {
		a.at = make(map[string]int, len(a.rows))
		for i := range a.rows {
			a.at[a.rows[i].index] = i
		}
	}
	i, ok := a.at[index]
	if !ok {
		return nil
	}
	return &a.rows[i]
}

// request is an OID with how it is fetched.
type request struct {
	oid  string // without a dot before it
	walk bool
}

// answers are those of one run, each once, however many sensors want it.
type answers map[request]*answer

// fetcher asks one device.
type fetcher struct {
	session *gosnmp.GoSNMP
	found   answers
	heard   bool // the device has answered something
	silent  error
}

// errSilent is when a device does not answer at all, so that nothing more is asked.
var errSilent = errors.New("the device does not answer")

// all fetches what is wanted: gets in few requests, walks in bulk where the version has it.
func (f *fetcher) all(ctx context.Context, wanted []request) {
	f.found = make(answers, len(wanted))
	var gets, walks []string
	for _, w := range wanted {
		if _, ok := f.found[w]; ok {
			continue
		}
		f.found[w] = &answer{}
		if w.walk {
			walks = append(walks, w.oid)
		} else {
			gets = append(gets, w.oid)
		}
	}
	for len(gets) > 0 {
		n := min(len(gets), f.session.MaxOids)
		f.get(ctx, gets[:n])
		gets = gets[n:]
	}
	for _, oid := range walks {
		to := f.found[request{oid, true}]
		if to.rows, to.err = f.walk(ctx, oid); to.err != nil {
			to.rows = nil
		}
	}
}

// call sends one request. After the device was silent at the first one it is not asked again.
func (f *fetcher) call(ctx context.Context, send func() (*gosnmp.SnmpPacket, error)) (*gosnmp.SnmpPacket, time.Time, error) {
	if f.silent != nil {
		return nil, time.Time{}, f.silent
	}
	if ctx.Err() != nil {
		return nil, time.Time{}, errors.New("there was no time left to ask")
	}
	packet, err := send()
	now := time.Now()
	if err == nil {
		f.heard = true
		return packet, now, nil
	}
	text := err.Error()
	if len(text) > 200 {
		text = text[:200] + "..."
	}
	if !f.heard {
		f.silent = fmt.Errorf("%w: %s", errSilent, text)
		return nil, now, f.silent
	}
	return nil, now, errors.New(text)
}

func (f *fetcher) fail(oids []string, err error) {
	for _, oid := range oids {
		f.found[request{oid: oid}].err = err
	}
}

// get asks for oids at once. Those of which the device says that they are at fault are left out.
func (f *fetcher) get(ctx context.Context, oids []string) {
	for len(oids) > 0 {
		packet, now, err := f.call(ctx, func() (*gosnmp.SnmpPacket, error) { return f.session.Get(oids) })
		if err != nil {
			f.fail(oids, err)
			return
		}
		if packet.Error == gosnmp.NoError {
			f.take(oids, packet.Variables, now)
			return
		}
		err = fmt.Errorf("the device answers %s", packet.Error)
		at := int(packet.ErrorIndex) - 1
		switch {
		case packet.Error == gosnmp.TooBig && len(oids) > 1, len(oids) > 1 && (at < 0 || at >= len(oids)):
			f.get(ctx, oids[:len(oids)/2])
			oids = oids[len(oids)/2:]
		case len(oids) == 1:
			f.fail(oids, err)
			return
		default:
			f.fail(oids[at:at+1], err)
			rest := make([]string, 0, len(oids)-1)
			oids = append(append(rest, oids[:at]...), oids[at+1:]...)
		}
	}
}

// take puts variables where they were asked for.
func (f *fetcher) take(oids []string, variables []gosnmp.SnmpPDU, now time.Time) {
	told := make(map[string]*gosnmp.SnmpPDU, len(variables))
	for i := range variables {
		told[strings.TrimPrefix(variables[i].Name, ".")] = &variables[i]
	}
	for _, oid := range oids {
		to := f.found[request{oid: oid}]
		pdu := told[oid]
		if pdu == nil {
			to.err = errors.New("the answer of the device does not have it")
			continue
		}
		v, err := newVariable(oid, pdu, now)
		if err != nil {
			to.err = err
			continue
		}
		to.one = &v
	}
}

// walk asks for everything below root.
func (f *fetcher) walk(ctx context.Context, root string) (rows []variable, err error) {
	last := root
	repetitions := f.session.MaxRepetitions
	for {
		packet, now, err := f.call(ctx, func() (*gosnmp.SnmpPacket, error) {
			if f.session.Version == gosnmp.Version1 {
				return f.session.GetNext([]string{last})
			}
			return f.session.GetBulk([]string{last}, 0, repetitions)
		})
		switch {
		case err != nil:
			return nil, err
		case packet.Error == gosnmp.NoSuchName && f.session.Version == gosnmp.Version1:
			return rows, nil // the end of everything
		case packet.Error == gosnmp.TooBig && repetitions > 1:
			repetitions /= 2
			continue
		case packet.Error != gosnmp.NoError:
			return nil, fmt.Errorf("the device answers %s", packet.Error)
		case len(packet.Variables) == 0:
			return nil, errors.New("the device answers with nothing")
		}
		for i := range packet.Variables {
			pdu := &packet.Variables[i]
			name := strings.TrimPrefix(pdu.Name, ".")
			suffix, below := strings.CutPrefix(name, root+".")
			if !below || pdu.Type == gosnmp.EndOfMibView || pdu.Type == gosnmp.NoSuchObject || pdu.Type == gosnmp.NoSuchInstance {
				return rows, nil
			}
			if !before(last, name) {
				return nil, fmt.Errorf("the device goes from %s back to %s", shortened(last), shortened(name))
			}
			if len(rows) == maxRows {
				return nil, fmt.Errorf("there are more than %d rows", maxRows)
			}
			last = name
			v, err := newVariable(name, pdu, now)
			if err != nil {
				continue // the row is not there, for all that is known
			}
			v.index = strings.ReplaceAll(suffix, ".", "-")
			rows = append(rows, v)
		}
	}
}

// before reports whether OID a comes before b.
func before(a, b string) bool {
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if x != y {
			m, _ := strconv.ParseUint(x, 10, 64) // decoders yield nothing but numbers
			n, _ := strconv.ParseUint(y, 10, 64)
			return m < n
		}
	}
	return a == "" && b != ""
}

// newVariable converts what a device told.
func newVariable(oid string, pdu *gosnmp.SnmpPDU, now time.Time) (variable, error) {
	v := variable{oid: oid, at: now}
	switch value := pdu.Value.(type) {
	case uint:
		v.integer(pdu.Type, uint64(value))
	case uint32:
		v.integer(pdu.Type, uint64(value))
	case uint64:
		v.integer(pdu.Type, value)
	case int:
		v.number, v.numeric, v.text = float64(value), true, strconv.Itoa(value)
	case float32:
		v.real(float64(value))
	case float64:
		v.real(value)
	case string: // an OID or an address
		v.text = strings.TrimPrefix(value, ".")
	case []byte:
		v.text = readable(value)
		if number, err := strconv.ParseFloat(strings.TrimSpace(v.text), 64); err == nil && !math.IsInf(number, 0) && !math.IsNaN(number) {
			v.number, v.numeric = number, true
		}
	default:
		switch pdu.Type {
		case gosnmp.NoSuchObject, gosnmp.NoSuchInstance, gosnmp.EndOfMibView:
			return v, fmt.Errorf("the device answers %s", pdu.Type)
		}
		return v, errors.New("the device answers with a value of no use")
	}
	return v, nil
}

func (v *variable) integer(kind gosnmp.Asn1BER, value uint64) {
	v.text = strconv.FormatUint(value, 10)
	switch kind {
	case gosnmp.Counter32:
		v.counter, v.bits = value, 32
	case gosnmp.Counter64:
		v.counter, v.bits = value, 64
	}
	v.number, v.numeric = float64(value), true
}

func (v *variable) real(value float64) {
	v.number, v.numeric = value, !math.IsNaN(value) && !math.IsInf(value, 0)
	v.text = strconv.FormatFloat(value, 'g', -1, 64)
}

// checkOID returns an OID without a dot before it.
func checkOID(text string) (string, error) {
	oid := strings.TrimPrefix(strings.TrimSpace(text), ".")
	arcs := strings.Split(oid, ".")
	if len(arcs) < 2 || len(arcs) > maxArcs {
		return "", fmt.Errorf("cannot use the OID %q: it must be numbers with dots between them, like 1.3.6.1.2.1.1.3.0", shortened(text))
	}
	for i, arc := range arcs {
		n, err := strconv.ParseUint(arc, 10, 32)
		if err != nil || i == 0 && n > 2 || i == 1 && n > 39 || arc != strconv.FormatUint(n, 10) {
			return "", fmt.Errorf("cannot use the OID %q: it must be numbers with dots between them, like 1.3.6.1.2.1.1.3.0, not names", shortened(text))
		}
	}
	return oid, nil
}

// readable is what a device told as text: UTF-8 where it is that, otherwise Latin-1.
func readable(raw []byte) string {
	if utf8.Valid(raw) {
		return string(raw)
	}
	runes := make([]rune, len(raw))
	for i, b := range raw {
		runes[i] = rune(b)
	}
	return string(runes)
}
