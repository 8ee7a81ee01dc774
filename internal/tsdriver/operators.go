package tsdriver

import (
	"slices"
	"strings"
)

// operators53 gives a source of Lua 5.3 the form that LuaJIT reads: the operators &, |, ~, <<, >> and //, which it
// lacks, become calls of the functions of prelude/operators.lua. Nothing else changes, and lines stay where they are. A source without
// such an operator, or one that is no Lua, comes back as it is.
func operators53(source string) string {
	if !strings.ContainsAny(source, "&|~") && !strings.Contains(source, "<<") && !strings.Contains(source, ">>") && !strings.Contains(source, "//") {
		return source
	}
	tokens, needed := scan(source)
	if !needed {
		return source
	}
	t := translation{tokens: tokens}
	text := t.statements(false)
	if t.failed || t.at < len(tokens)-1 { // the last one is the end
		return source
	}
	return text + tokens[len(tokens)-1].before
}

// token is a word of Lua with what stands before it.
type token struct {
	before, text string
	kind         tokenKind
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenKeyword
	tokenLiteral // a number or a string
	tokenSign
)

var keywords = []string{
	"and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or",
	"repeat", "return", "then", "true", "until", "while",
}

// signs of more than one character, longest first.
var signs = []string{"...", "<<", ">>", "//", "::", "==", "~=", "<=", ">=", ".."}

// functions of operators, by sign; binary ones and, after a "u", the one with one operand.
var functions53 = map[string]string{"&": "band", "|": "bor", "~": "bxor", "<<": "shl", ">>": "shr", "//": "idiv", "u~": "bnot"}

// scan reads the words of a source. needed reports whether one of them is an operator that has to be replaced.
func scan(source string) (tokens []token, needed bool) {
	at := 0
	for {
		begin := at
		at = skipSpace(source, at)
		t := token{before: source[begin:at]}
		if at >= len(source) {
			return append(tokens, t), needed
		}
		begin = at
		c := source[at]
		switch {
		case letter(c):
			for at < len(source) && (letter(source[at]) || digit(source[at])) {
				at++
			}
			t.kind = tokenName
			if slices.Contains(keywords, source[begin:at]) {
				t.kind = tokenKeyword
			}
		case digit(c) || c == '.' && at+1 < len(source) && digit(source[at+1]):
			t.kind = tokenLiteral
			for at < len(source) && (letter(source[at]) || digit(source[at]) || source[at] == '.' ||
				(source[at] == '-' || source[at] == '+') && strings.ContainsRune("eEpP", rune(source[at-1])) && !hexadecimal(source[begin:at])) {
				at++
			}
		case c == '"' || c == '\'':
			t.kind = tokenLiteral
			for at++; at < len(source) && source[at] != c; at++ {
				if source[at] == '\\' {
					at++
				}
			}
			at = min(at+1, len(source))
		default:
			if n := longBracket(source, at); n > at {
				t.kind, at = tokenLiteral, n
				break
			}
			t.kind = tokenSign
			at++
			for _, sign := range signs {
				if strings.HasPrefix(source[begin:], sign) {
					at = begin + len(sign)
					break
				}
			}
			needed = needed || functions53[source[begin:at]] != ""
		}
		t.text = source[begin:at]
		tokens = append(tokens, t)
	}
}

// hexadecimal reports whether a number is one in which e is a digit.
func hexadecimal(number string) bool {
	return len(number) > 1 && (number[1] == 'x' || number[1] == 'X') && !strings.HasSuffix(strings.ToLower(number), "p")
}

func letter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}
func digit(c byte) bool { return c >= '0' && c <= '9' }

// skipSpace returns where the next word begins, behind spaces and comments.
func skipSpace(source string, at int) int {
	for at < len(source) {
		switch {
		case strings.IndexByte(" \t\r\n\f\v", source[at]) >= 0:
			at++
		case strings.HasPrefix(source[at:], "--"):
			if n := longBracket(source, at+2); n > at+2 {
				at = n
				continue
			}
			end := strings.IndexByte(source[at:], '\n')
			if end < 0 {
				return len(source)
			}
			at += end
		default:
			return at
		}
	}
	return at
}

// longBracket returns where the long string ends that begins at a place; the place itself when none begins there.
func longBracket(source string, at int) int {
	if at >= len(source) || source[at] != '[' {
		return at
	}
	level := 0
	for at+1+level < len(source) && source[at+1+level] == '=' {
		level++
	}
	if at+1+level >= len(source) || source[at+1+level] != '[' {
		return at
	}
	closing := "]" + strings.Repeat("=", level) + "]"
	end := strings.Index(source[at:], closing)
	if end < 0 {
		return len(source)
	}
	return at + end + len(closing)
}

// translation goes through the words of a source, and returns the text of what it has passed.
type translation struct {
	tokens []token
	at     int
	depth  int
	failed bool
}

// maxNested bounds how deep expressions and functions are nested.
const maxNested = 200

// is reports whether the next word is this one, and no string of the same text.
func (t *translation) is(text string) bool {
	next := &t.tokens[t.at]
	return next.text == text && next.kind != tokenLiteral
}

// copy passes a word as it is.
func (t *translation) copy() string {
	next := &t.tokens[t.at]
	if next.kind == tokenEnd {
		t.failed = true
		return ""
	}
	t.at++
	return next.before + next.text
}

// expect passes this word.
func (t *translation) expect(text string) string {
	if !t.is(text) {
		t.failed = true
	}
	return t.copy()
}

// enter counts nesting; what is too deep fails.
func (t *translation) enter() (leave func()) {
	if t.depth++; t.depth > maxNested {
		t.failed = true
	}
	return func() { t.depth-- }
}

// statements passes statements up to the end of the source or, of the body of a function, up to its end.
func (t *translation) statements(body bool) string {
	var out strings.Builder
	open := 0
	for !t.failed && t.tokens[t.at].kind != tokenEnd {
		switch next := &t.tokens[t.at]; {
		case next.kind == tokenKeyword && (next.text == "if" || next.text == "do" || next.text == "repeat"):
			open++
			out.WriteString(t.copy())
		case t.is("function"):
			open++
			out.WriteString(t.head())
		case t.is("end") || t.is("until"):
			if open == 0 && body {
				out.WriteString(t.expect("end"))
				return out.String()
			}
			open--
			out.WriteString(t.copy())
		case t.is("local"):
			out.WriteString(t.copy())
			out.WriteString(t.names())
		case t.begins():
			out.WriteString(t.expression(0))
		default:
			out.WriteString(t.copy())
		}
	}
	if body {
		t.failed = true
	}
	return out.String()
}

// head passes a function up to its parameters.
func (t *translation) head() string {
	var out strings.Builder
	for !t.failed && !t.is("(") {
		out.WriteString(t.copy())
	}
	for !t.failed && !t.is(")") {
		out.WriteString(t.copy())
	}
	out.WriteString(t.expect(")"))
	return out.String()
}

// names passes the names behind local, without the attributes that Lua 5.4 has there.
func (t *translation) names() string {
	var out strings.Builder
	for !t.failed && t.tokens[t.at].kind == tokenName {
		out.WriteString(t.copy())
		if t.is("<") {
			for range 3 {
				t.copy()
			}
		}
		if !t.is(",") {
			break
		}
		out.WriteString(t.copy())
	}
	return out.String()
}

// begins reports whether an expression may begin with the next word.
func (t *translation) begins() bool {
	next := &t.tokens[t.at]
	switch next.kind {
	case tokenName, tokenLiteral:
		return true
	case tokenKeyword, tokenSign:
		return slices.Contains([]string{"nil", "true", "false", "not", "function", "...", "(", "{", "-", "#", "~"}, next.text)
	}
	return false
}

// How tightly binary operators bind on their left and on their right.
var binds = map[string][2]int{
	"or": {1, 1}, "and": {2, 2}, "<": {3, 3}, ">": {3, 3}, "<=": {3, 3}, ">=": {3, 3}, "~=": {3, 3}, "==": {3, 3},
	"|": {4, 4}, "~": {5, 5}, "&": {6, 6}, "<<": {7, 7}, ">>": {7, 7}, "..": {9, 8}, "+": {10, 10}, "-": {10, 10},
	"*": {11, 11}, "/": {11, 11}, "//": {11, 11}, "%": {11, 11}, "^": {14, 13},
}

const unary = 12

// expression passes an expression of operators that bind more tightly than least.
func (t *translation) expression(least int) string {
	defer t.enter()()
	if t.failed {
		return ""
	}
	var left string
	switch {
	case t.is("~"):
		left = t.call("u~", t.operand(), "")
	case t.is("not") || t.is("-") || t.is("#"):
		left = t.copy() + t.expression(unary)
	default:
		left = t.primary()
	}
	for !t.failed {
		next := &t.tokens[t.at]
		bind, ok := binds[next.text]
		if !ok || next.kind == tokenLiteral || bind[0] <= least {
			break
		}
		operator := t.copy()
		right := t.expression(bind[1])
		if functions53[next.text] != "" {
			left = t.call(next.text, left, next.before+","+right)
		} else {
			left += operator + right
		}
	}
	return left
}

// operand passes the operand of the operator with one, with what stood before the operator.
func (t *translation) operand() string {
	before := t.tokens[t.at].before
	t.copy()
	return before + t.expression(unary)
}

// call is a call in the place of an operator, in parentheses: without them it could be a tail call, and errors
// in it would have no place.
func (t *translation) call(operator, left, right string) string {
	return " (__weir." + functions53[operator] + "(" + left + right + "))"
}

// primary passes what operators stand between.
func (t *translation) primary() string {
	next := &t.tokens[t.at]
	switch {
	case t.is("function"):
		return t.head() + t.statements(true)
	case t.is("{"):
		return t.table()
	case t.is("("):
		return t.suffixes(t.copy() + t.expression(0) + t.expect(")"))
	case next.kind == tokenName:
		return t.suffixes(t.copy())
	case next.kind == tokenLiteral || slices.Contains([]string{"nil", "true", "false", "..."}, next.text):
		return t.copy()
	}
	t.failed = true
	return ""
}

// suffixes passes members, indexes and calls.
func (t *translation) suffixes(of string) string {
	var out strings.Builder
	out.WriteString(of)
	for !t.failed {
		next := &t.tokens[t.at]
		switch {
		case t.is(".") || t.is(":"):
			out.WriteString(t.copy() + t.copy())
		case t.is("["):
			out.WriteString(t.copy() + t.expression(0) + t.expect("]"))
		case t.is("("):
			out.WriteString(t.copy())
			for !t.failed && !t.is(")") {
				out.WriteString(t.expression(0))
				if t.is(",") {
					out.WriteString(t.copy())
				}
			}
			out.WriteString(t.expect(")"))
		case t.is("{"):
			out.WriteString(t.table())
		case next.kind == tokenLiteral && strings.IndexByte(`"'[`, next.text[0]) >= 0:
			out.WriteString(t.copy())
		default:
			return out.String()
		}
	}
	return out.String()
}

// table passes the constructor of a table.
func (t *translation) table() string {
	defer t.enter()()
	var out strings.Builder
	out.WriteString(t.copy())
	for !t.failed && !t.is("}") {
		switch {
		case t.is("["):
			out.WriteString(t.copy() + t.expression(0) + t.expect("]"))
		case t.is("=") || t.is(",") || t.is(";"):
			out.WriteString(t.copy())
		default:
			out.WriteString(t.expression(0))
		}
	}
	out.WriteString(t.expect("}"))
	return out.String()
}
