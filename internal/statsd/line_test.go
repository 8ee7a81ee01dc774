package statsd

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// parse renders what a packet means, one item per value: "key c 3", "key ms 3*2"
// (value*weight), "key g +3" or "key g =3", "key s {member}", "BAD fields".
func parse(packet string, sanitize bool) string {
	var out []string
	p := Parser{Sanitize: sanitize}
	p.OnBad = func(b Bad) { out = append(out, fmt.Sprintf("BAD %s", b.Fields)) }
	p.OnValue = func(v *Value) {
		switch v.Kind {
		case Counter:
			out = append(out, fmt.Sprintf("%s c %s", v.Key, FormatNumber(v.Number)))
		case Timer:
			out = append(out, fmt.Sprintf("%s ms %s*%s", v.Key, FormatNumber(v.Number), FormatNumber(v.Weight)))
		case Gauge:
			sign := "="
			if v.Signed {
				sign = "d"
			}
			out = append(out, fmt.Sprintf("%s g %s%s", v.Key, sign, FormatNumber(v.Number)))
		case Set:
			out = append(out, fmt.Sprintf("%s s {%s}", v.Key, v.Member))
		}
	}
	p.Packet([]byte(packet))
	return strings.Join(out, ", ")
}

func TestParserPacket(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := parse(in, true); got != want {
			t.Errorf("%q\n got %s\nwant %s", in, got, want)
		}
	}
	// several values, each with its own type and rate
	f("key:1|c:2|c|@0.1:3|ms", "key c 1, key c 20, key ms 3*1")
	f("a:1|c\n\nb:2|c\n", "a c 1, b c 2")
	// tags, specification section 1.2
	f("c:1|c|#env:prod,x:y", "c;env=prod;x=y c 1")
	f("c:1|c|@0.5|#env:prod", "c;env=prod c 2")
	f("c:1|c|#", "c c 1")
	f("c:1|c|#solo", "c;solo c 1")
	f("c:1|c|#k:v:w", "c;k=vw c 1")
	f("c:1|c|#k:a;b;c", "c;k=a_b;c c 1")
	f("c:1|c|#a:b,", "c;a=b; c 1")
	f("c:1|c|#x:y|@0.5", "c;x=y0.5 c 1")
	f("c:1|c|#x:y|#z", "c;x=y c 1")
	f("c;env=prod:1|c", "c;env=prod c 1")
	f("fo/o;tag1=val1:250|c", "fo-o;tag1=val1 c 250")
	// keys, section 1.3
	f("a b/c+d:1|c", "a_b-cd c 1")
	f(" lead:1|c", "_lead c 1")
	f("a \t\u00a0b:1|c", "a_b c 1")
	f("café:1|c", "caf c 1")
	f(":1|c", " c 1")
	f("\xff\x00k:1|c", "k c 1")
	f("__proto__:1|c", "__proto__ c 1")
	// validity, sections 1.4 and 11
	f("a", "BAD 1")
	f("a|c", "BAD 1")
	f("a:1", "BAD 1")
	f("a:|c", "BAD ,c")
	f("a:|ms", "BAD ,ms")
	f("a:|s", "a s {0}")
	f("a: |c", "a c 0")
	f("a:-1|ms", "BAD -1,ms")
	f("a:-0|ms", "a ms 0*1")
	f("a:-5| ms", "a ms -5*1")
	f("a:1|c|0.1", "BAD 1,c,0.1")
	f("a:1|c|@", "BAD 1,c,@")
	f("a:1|c|@x", "BAD 1,c,@x")
	f("a:1|c|@-0.5", "BAD 1,c,@-0.5")
	f("a:1|c|@.1.2", "BAD 1,c,@.1.2")
	f("a:1|c|", "BAD 1,c,")
	f("a:1|c|@0.5|junk", "a c 2")
	f("a:1|c|@+0.5", "BAD 1,c,@+0.5")
	f("a:1|c|@ 0.5", "BAD 1,c,@ 0.5")
	f("a:1|c|@Infinity", "BAD 1,c,@Infinity")
	f("a:1|c|@0", "a c Infinity")
	f("a:1|c|@2e-1", "a c 0.5")
	f("a:1|c|@5.", "a c 0.2")
	f("a:1|c|@0.3", "a c 3.3333333333333335")
	f("a:1:2|c", "BAD 1, a c 2")
	f("ok:1|c:x|c:2|c", "ok c 1, BAD x,c, ok c 2")
	f("a:1|", "a c 1")
	f("a:1|zz", "a c 1")
	f("a:1e1000|c", "a c Infinity")
	f("a:nan|c", "BAD nan,c")
	// gauges: a sign makes a delta, the raw text decides
	f("g:5|g:-2|g:+3|g: -5|g", "g g =5, g g d-2, g g d3, g g =-5")
	// CRLF clients
	f("x:1|c\r", "x c 1")
	f("x:1|ms\r", "x ms 1*1")
	f("x:foo|s\r", "BAD foo,s\r")
	f("x:1|c|#a:b\r", "x;a=b_ c 1")
	f("\r", "BAD 1")
}

func TestParserKeepsKeysWithoutSanitizing(t *testing.T) {
	if got, want := parse("a b/ç:1|c|#k:v w", false), "a b/ç;k=v w c 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParserDecodesUTF8(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := parse(in, false); got != want {
			t.Errorf("%q\n got %q\nwant %q", in, got, want)
		}
	}
	// as Node's Buffer.toString: one U+FFFD per longest prefix of a character, and per byte that begins none
	f("k\xff:1|c", "k\ufffd c 1")
	f("s:\xe2\x82|s", "s s {\ufffd}")
	f("s:\xe2\x82a\xe2\x82\xac|s", "s s {\ufffda€}")
	f("s:\xf0\x9f\x98\xff\xc0\x80|s", "s s {\ufffd\ufffd\ufffd\ufffd}")
	f("s:\xf0\x80\xed\xa0\x80\xf0\x9f\x98\x80|s", "s s {\ufffd\ufffd\ufffd\ufffd\ufffd😀}")
	f("k:1|c|#t\xff:\xfe", "k;t\ufffd=\ufffd c 1")
	if got, want := parse("caf\xe9\xff:1|c", true), "caf c 1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzPlainLine checks that the fast path and the full parser understand a packet alike.
func FuzzPlainLine(f *testing.F) {
	for _, seed := range []string{
		"a:1|c\nb:2.5|ms\nc:-3|g\nd:+.5|g|@0.1\ne:5.|c|@.5", "a:-0|ms\na:1|c|@0", "a:1234567890123456|c", "a:1234567890.12345|c", "a:.|c", "a:1|c|@",
		"a:1|m", "a:1|ms", "a:1|msx", "a:1|c|#t", "a:1:2|c", "a:", "a:1", "a:1|", ":1|c", "a:0000000000000001|ms",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		render := func(p *Parser) (out []string, lines int) {
			p.OnValue = func(v *Value) {
				out = append(out, fmt.Sprintf("%v %q %q %v %v %v", v.Kind, v.Key, v.Member, v.Signed, math.Float64bits(v.Number), v.Weight))
				v.Member = nil
			}
			p.OnBad = func(b Bad) { out = append(out, fmt.Sprintf("bad %q %q", b.Fields, b.Line)) }
			lines = p.Packet(packet)
			return out, lines
		}
		for _, sanitize := range []bool{true, false} {
			fast, lines := render(&Parser{Sanitize: sanitize})
			full, all := render(&Parser{Sanitize: sanitize, OnLine: func([]byte) {}})
			if lines != all || strings.Join(fast, "\n") != strings.Join(full, "\n") {
				t.Errorf("fast path: %d lines\n%s\nfull parser: %d lines\n%s", lines, strings.Join(fast, "\n"), all, strings.Join(full, "\n"))
			}
		}
	})
}

func FuzzParser(f *testing.F) {
	f.Add([]byte("key:1|c:2|c|@0.1:3|ms|#a:b,c\nx:1|s"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		values := 0
		p := Parser{Sanitize: true, OnBad: func(Bad) { values++ }}
		p.OnValue = func(v *Value) {
			values++
			for _, c := range v.Key {
				if !keep[c] {
					t.Fatalf("key %q holds %q", v.Key, c)
				}
			}
		}
		if lines := p.Packet(packet); values < lines {
			t.Fatalf("%d lines gave %d values", lines, values)
		}
	})
}
