package monitor

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/weirhq/weir/internal/lua"
)

// definePatterns makes the userdata of T.re2 and T.ac (3.8).
func definePatterns(vm *lua.VM) error {
	if err := vm.DefineType(lua.ObjectType{Name: "re2", Methods: map[string]lua.Function{
		"partial_match":    patternMethod(false, 0),
		"full_match":       patternMethod(true, 0),
		"partial_match_c1": patternMethod(false, 1),
		"partial_match_c2": patternMethod(false, 2),
		"partial_match_n":  patternMethod(false, -1),
		"full_match_n":     patternMethod(true, -1),
	}}); err != nil {
		return err
	}
	return vm.DefineType(lua.ObjectType{Name: "ac", Methods: map[string]lua.Function{
		"match_all": matcherMethod(false),
		"match_one": matcherMethod(true),
	}})
}

// pattern is a T.re2, once to find and once to match a whole text. POSIX patterns find the longest match,
// which is the whole text if one is: full is nil.
type pattern struct{ part, full *regexp.Regexp }

func (p *pattern) find(text []byte, full bool) []int {
	if full && p.full != nil {
		return p.full.FindSubmatchIndex(text)
	}
	found := p.part.FindSubmatchIndex(text)
	if full && found != nil && (found[0] > 0 || found[1] < len(text)) {
		return nil
	}
	return found
}

func newPattern(c *lua.Call) (int, error) {
	text, err := c.String(1)
	if err != nil {
		return 0, err
	}
	options := &lua.Table{}
	if !c.IsNil(2) {
		if options, err = c.Table(2); err != nil {
			return 0, err
		}
	}
	is := func(name string) bool { v, _ := options.Get(name).(bool); return v }
	if is("literal") {
		text = regexp.QuoteMeta(text)
	}
	flags := ""
	if options.Get("case_sensitive") == false {
		flags = "(?i)"
	}
	if is("never_nl") {
		text = strings.ReplaceAll(text, `\n`, `[^\x00-\x{10FFFF}]`)
	}
	p := new(pattern)
	if is("posix_syntax") && flags == "" { // the POSIX parser knows no flags
		p.part, err = regexp.CompilePOSIX(text)
	} else {
		p.part, err = regexp.Compile(flags + text)
		if err == nil {
			p.full, err = regexp.Compile(flags + `^(?:` + text + `)$`)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("bad pattern %q: %w", text, err)
	}
	if is("longest_match") {
		p.part.Longest()
	}
	c.Push(&lua.Object{Type: "re2", Value: p})
	return 1, nil
}

// patternMethod returns whether the text matches and so many captures; -1 is all of them.
func patternMethod(full bool, captures int) lua.Function {
	return func(c *lua.Call) (int, error) {
		v, err := c.Object(1, "re2")
		if err != nil {
			return 0, err
		}
		text, err := c.Bytes(2)
		if err != nil {
			return 0, err
		}
		p := v.(*pattern)
		found := p.find(text, full)
		count := captures
		if captures < 0 {
			count = p.part.NumSubexp()
		}
		c.PushBool(found != nil)
		for n := 1; n <= count; n++ {
			if found == nil || 2*n >= len(found) || found[2*n] < 0 {
				c.PushNil()
			} else {
				c.PushBytes(text[found[2*n]:found[2*n+1]])
			}
		}
		return 1 + count, nil
	}
}

// matcher is an Aho-Corasick automaton.
type matcher struct {
	patterns []string
	nodes    []matchNode
}

type matchNode struct {
	next map[byte]int32
	fail int32
	ends []int32 // patterns that end here, those of the nodes it falls back to included
}

// maxMatcher bounds the bytes of all patterns.
const maxMatcher = 16 << 20

func newMatcher(c *lua.Call) (int, error) {
	list, err := c.Table(1)
	if err != nil {
		return 0, err
	}
	m := &matcher{nodes: []matchNode{{}}}
	size := 0
	for n, v := range list.Array {
		text, ok := v.(string)
		if !ok || text == "" {
			return 0, fmt.Errorf("pattern %d is not a string with at least one byte", n+1)
		}
		if size += len(text); size > maxMatcher {
			return 0, fmt.Errorf("the patterns have more than %d bytes", maxMatcher)
		}
		m.add(text)
	}
	m.link()
	c.Push(&lua.Object{Type: "ac", Value: m})
	return 1, nil
}

func (m *matcher) add(text string) {
	at := int32(0)
	for i := range len(text) {
		next, ok := m.nodes[at].next[text[i]]
		if !ok {
			next = int32(len(m.nodes))
			m.nodes = append(m.nodes, matchNode{})
			if m.nodes[at].next == nil {
				m.nodes[at].next = make(map[byte]int32, 1)
			}
			m.nodes[at].next[text[i]] = next
		}
		at = next
	}
	m.nodes[at].ends = append(m.nodes[at].ends, int32(len(m.patterns)))
	m.patterns = append(m.patterns, text)
}

// link finds where each node falls back to, breadth first.
func (m *matcher) link() {
	queue := []int32{}
	for _, n := range m.nodes[0].next {
		queue = append(queue, n)
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for b, n := range m.nodes[at].next {
			m.nodes[n].fail = m.step(m.nodes[at].fail, b)
			m.nodes[n].ends = append(m.nodes[n].ends, m.nodes[m.nodes[n].fail].ends...)
			queue = append(queue, n)
		}
	}
}

func (m *matcher) step(at int32, b byte) int32 {
	for {
		if next, ok := m.nodes[at].next[b]; ok {
			return next
		}
		if at == 0 {
			return 0
		}
		at = m.nodes[at].fail
	}
}

// match returns for each pattern found where its first match ends, counted from 1; with one, for the first pattern that is found.
func (m *matcher) match(text []byte, one bool) map[string]any {
	found := make(map[string]any)
	at := int32(0)
	for i, b := range text {
		at = m.step(at, b)
		for _, p := range m.nodes[at].ends {
			if _, ok := found[m.patterns[p]]; !ok {
				found[m.patterns[p]] = i + 1
				if one {
					return found
				}
			}
		}
	}
	return found
}

func matcherMethod(one bool) lua.Function {
	return func(c *lua.Call) (int, error) {
		v, err := c.Object(1, "ac")
		if err != nil {
			return 0, err
		}
		text, err := c.Bytes(2)
		if err != nil {
			return 0, err
		}
		c.Push(v.(*matcher).match(text, one))
		return 1, nil
	}
}
