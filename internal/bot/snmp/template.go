package snmp

import (
	"errors"
	"fmt"
	"html"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// template is where values of a sensor go: text with {$index} and {$1} in it. It does not change.
type template []templatePart

// templatePart is text, or stands for a value or the index.
type templatePart struct {
	literal string
	ref     int // 0 for the literal, indexPart for the index, otherwise the number of a value
}

const indexPart = -1

// maxPathTemplate bounds templates, in bytes.
const maxPathTemplate = 1000

// parseTemplate reads the output path of a sensor with count OIDs, of which some are walked or none.
func parseTemplate(text string, count int, walked bool) (template, error) {
	fail := func(err error) (template, error) {
		return nil, fmt.Errorf("cannot use the output_path %q: %w", shortened(text), err)
	}
	if text == "" || len(text) > maxPathTemplate {
		return fail(fmt.Errorf("it must have 1 to %d characters", maxPathTemplate))
	}
	var parts template
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "{")
		for _, r := range literal {
			if r != '.' && !plainRune(r) {
				return fail(fmt.Errorf("it has %q in it, which must be a letter, digit, _, -, {$index} or {$1}", r))
			}
		}
		if literal != "" {
			parts = append(parts, templatePart{literal: literal})
		}
		if !found {
			break
		}
		name, behind, closed := strings.Cut(after, "}")
		ref, err := strconv.Atoi(strings.TrimPrefix(name, "$"))
		switch {
		case !closed:
			return fail(errors.New("a } is missing"))
		case name == "$index" && !walked:
			return fail(errors.New("{$index} is there only when an OID is walked"))
		case name == "$index":
			ref = indexPart
		case name == "" || name[0] != '$' || err != nil || ref < 1 || ref > count:
			return fail(fmt.Errorf("{%s} must be {$index} or one of {$1} to {$%d}, one for each OID", shortened(name), count))
		}
		parts = append(parts, templatePart{ref: ref})
		rest = behind
	}
	return parts, nil
}

func plainRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
}

// fill appends the path of one row to to. index is already in order; texts are values as devices tell them.
func (t template) fill(to []byte, index string, text func(ref int) string) []byte {
	for _, part := range t {
		switch part.ref {
		case 0:
			to = append(to, part.literal...)
		case indexPart:
			to = append(to, index...)
		default:
			cleaned := clean(text(part.ref))
			if cleaned == "" {
				cleaned = index // an empty segment would be refused
			}
			if cleaned == "" {
				cleaned = "-"
			}
			to = append(to, cleaned...)
		}
	}
	return to
}

// maxCleaned bounds what a device's text becomes in a path, in bytes (section 8).
const maxCleaned = 100

// maxText bounds how much of a device's text is looked at, in bytes.
const maxText = 4096

// clean makes one segment of a path of a device's text (section 5.3).
func clean(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	text = html.UnescapeString(text)
	var ascii strings.Builder
	for _, r := range norm.NFKD.String(text) {
		if spelled, ok := spelling[r]; ok {
			ascii.WriteString(spelled)
			continue
		}
		if !unicode.Is(unicode.Mn, r) { // the mark of a letter before it
			ascii.WriteRune(r)
		}
	}
	text = ascii.String()
	var b strings.Builder
	dash := false
	for i, r := range text {
		switch {
		case r == ',' && i > 0 && i+1 < len(text) && digit(text[i-1]) && digit(text[i+1]):
			continue
		case !plainRune(r) || r == '-':
			dash = b.Len() > 0
			continue
		}
		if dash {
			b.WriteByte('-')
			dash = false
		}
		if b.Len() >= maxCleaned {
			break
		}
		b.WriteRune(r)
	}
	cleaned := b.String()
	if len(cleaned) > maxCleaned {
		cleaned = cleaned[:maxCleaned]
	}
	return strings.Trim(cleaned, "-")
}

// spelling is how letters are written in ASCII that are not just a letter with a mark.
var spelling = func() map[rune]string {
	all := map[rune]string{
		'ß': "ss", 'ẞ': "SS", 'æ': "ae", 'Æ': "AE", 'œ': "oe", 'Œ': "OE", 'ø': "o", 'Ø': "O", 'đ': "d", 'Đ': "D", 'ð': "d", 'Ð': "D",
		'þ': "th", 'Þ': "Th", 'ł': "l", 'Ł': "L", 'ħ': "h", 'Ħ': "H", 'ı': "i", 'ŋ': "ng", 'Ŋ': "NG", 'ŧ': "t", 'Ŧ': "T", 'ς': "s",
		'ь': "", 'ъ': "", 'Ь': "", 'Ъ': "", 'і': "i", 'І': "I", 'є': "ie", 'Є': "Ie",
	}
	add := func(letters, spelled string) {
		words := strings.Fields(spelled)
		i := 0
		for _, r := range letters {
			all[r] = words[i]
			all[unicode.ToUpper(r)] = strings.ToUpper(words[i][:1]) + words[i][1:]
			i++
		}
	}
	add("абвгдежзийклмнопрстуфхцчшщыэюя", "a b v g d e zh z i i k l m n o p r s t u f kh ts ch sh shch y e iu ia")
	add("αβγδεζηθικλμνξοπρστυφχψω", "a b g d e z e th i k l m n x o p r s t u ph kh ps o")
	return all
}()
