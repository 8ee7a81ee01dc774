package config

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// value is where the value of an option goes, and what it may be.
type value interface {
	// kind says in a few words what may be written.
	kind() string
	// yaml renders the value as it is now. It may be a secret: it is compared,
	// and printed only for defaults.
	yaml() string
	// decode reads n, never nil, into the value, or reports why it cannot.
	decode(d *decoder, path string, n ast.Node)
}

// text is a string; check, if there is one, returns what is wrong with a text
// and what to write instead.
type text struct {
	to     *string
	what   string // kind
	check  func(string) (reason, suggestion string)
	expand bool   // ${NAME} stands for a variable of the environment
	secret bool   // messages do not quote it
	known  string // a secret that everybody knows
}

func (v text) kind() string {
	if v.expand {
		return cmp.Or(v.what, "text") + ", `${NAME}` for variables of the environment"
	}
	return cmp.Or(v.what, "text")
}

// yaml shows of a secret only whether it is the same as another one.
func (v text) yaml() string {
	if v.secret && *v.to != "" && *v.to != v.known {
		return fmt.Sprintf("(a secret, %08x)", uint32(maphash.String(secretSeed, *v.to)))
	}
	return quoted(*v.to)
}

var secretSeed = maphash.MakeSeed()

func (v text) decode(d *decoder, path string, n ast.Node) {
	s, ok := stringOf(n)
	if !ok && v.secret {
		message := "cannot use the value of " + path + ": it must be text, not " + what(n)
		if scalar(n) {
			message += "; write it in quotes"
		}
		d.at(place(n), message)
		return
	}
	if !ok {
		suggestion := ""
		if scalar(n) && !empty(n) {
			suggestion = strconv.Quote(source(n))
			if v.check != nil {
				if reason, better := v.check(source(n)); reason != "" {
					suggestion = better
				}
			}
		}
		d.refuse(n, path, "it must be "+plain(cmp.Or(v.what, "text"))+", not "+what(n), suggestion)
		return
	}
	if v.expand {
		var missing string
		if s, missing = expand(s, d.lookup); missing != "" {
			if v.secret {
				d.at(place(n), "cannot use the value of "+path+": the environment has no variable "+missing)
				return
			}
			d.refuse(n, path, "the environment has no variable "+missing, "")
			return
		}
	}
	if v.check != nil {
		if reason, suggestion := v.check(s); reason != "" {
			d.refuse(n, path, reason, suggestion)
			return
		}
	}
	*v.to = s
}

var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// expand puts variables in; missing is the first one that is not set.
func expand(s string, lookup func(string) (string, bool)) (expanded, missing string) {
	expanded = variable.ReplaceAllStringFunc(s, func(use string) string {
		content, ok := lookup(use[2 : len(use)-1])
		if !ok && missing == "" {
			missing = quote(use[2 : len(use)-1])
		}
		return content
	})
	return expanded, missing
}

// choice is one of a few words.
type choice struct {
	to    *string
	words []string
}

func (v choice) kind() string {
	return strings.ReplaceAll(strings.ReplaceAll(either(v.words), `"`, "`"), "``", "`\"\"`")
}

func (v choice) yaml() string { return quoted(*v.to) }

func (v choice) decode(d *decoder, path string, n ast.Node) {
	s, isText := stringOf(n)
	if !isText || !slices.Contains(v.words, s) { // 2.5 is a number
		reason, near := "it must be "+either(v.words), nearest(source(n), v.words)
		if i := slices.IndexFunc(v.words, func(word string) bool { return strings.HasPrefix(word, source(n)) }); near == "" && i >= 0 && source(n) != "" {
			near = v.words[i]
		}
		if near != "" && len(v.words) > 8 {
			reason = "there is no such word for it"
		}
		d.refuse(n, path, reason, quotedOrNothing(near))
		return
	}
	*v.to = s
}

// level is how important a message must be to be logged.
type level struct{ to *slog.Level }

var levels = []string{"debug", "info", "warn", "error"}

func (v level) kind() string { return choice{words: levels}.kind() }
func (v level) yaml() string { return strings.ToLower(v.to.String()) }

func (v level) decode(d *decoder, path string, n ast.Node) {
	word := v.yaml()
	choice{&word, levels}.decode(d, path, n)
	_ = v.to.UnmarshalText([]byte(word)) // one of the four
}

// flag is true or false.
type flag struct{ to *bool }

func (v flag) kind() string { return "`true` or `false`" }
func (v flag) yaml() string { return strconv.FormatBool(*v.to) }

func (v flag) decode(d *decoder, path string, n ast.Node) {
	if of, ok := n.(*ast.BoolNode); ok {
		*v.to = of.Value
		return
	}
	suggestion := ""
	switch strings.ToLower(source(n)) {
	case "yes", "on", "1", "true", "y":
		suggestion = "true"
	case "no", "off", "0", "false", "n":
		suggestion = "false"
	}
	d.refuse(n, path, "it must be true or false", suggestion)
}

// whole is a whole number between two bounds, both included.
type whole struct {
	to         *int
	least, max int
}

func (v whole) kind() string { return "a whole number, " + v.bounds() }
func (v whole) yaml() string { return strconv.Itoa(*v.to) }

func (v whole) bounds() string {
	if v.max == math.MaxInt {
		return fmt.Sprintf("%d or more", v.least)
	}
	return fmt.Sprintf("%d to %d", v.least, v.max)
}

func (v whole) decode(d *decoder, path string, n ast.Node) {
	of, ok := n.(*ast.IntegerNode)
	if !ok {
		suggestion := ""
		f, err := strconv.ParseFloat(strings.NewReplacer(",", "", "_", "", " ", "").Replace(source(n)), 64)
		if err == nil && f == math.Trunc(f) && f >= float64(v.least) && f <= float64(v.max) {
			suggestion = strconv.FormatFloat(f, 'f', 0, 64)
		}
		d.refuse(n, path, "it must be a whole number, not "+what(n), suggestion)
		return
	}
	i, fits := v.max, false
	switch number := of.Value.(type) {
	case int64:
		i, fits = int(number), true
	case uint64:
		i, fits = int(number), number <= math.MaxInt
	}
	if !fits || i < v.least || i > v.max {
		d.refuse(n, path, "it must be "+v.bounds(), strconv.Itoa(min(max(i, v.least), v.max)))
		return
	}
	*v.to = i
}

// number is a number that check finds nothing wrong with.
type number struct {
	to    *float64
	what  string // kind
	check func(float64) (reason, suggestion string)
}

func (v number) kind() string { return v.what }

func (v number) yaml() string {
	if math.IsInf(*v.to, 1) {
		return "inf"
	}
	return strconv.FormatFloat(*v.to, 'f', -1, 64)
}

func (v number) decode(d *decoder, path string, n ast.Node) {
	f, ok := numberOf(n)
	if !ok {
		suggestion := ""
		if f, err := strconv.ParseFloat(strings.TrimSuffix(source(n), "%"), 64); err == nil && !math.IsNaN(f) {
			suggestion = strconv.FormatFloat(f, 'f', -1, 64)
		}
		d.refuse(n, path, "it must be "+v.what+", not "+what(n), suggestion)
		return
	}
	if reason, suggestion := v.check(f); reason != "" {
		d.refuse(n, path, reason, suggestion)
		return
	}
	*v.to = f
}

// duration is a length of time between two bounds, both included.
type duration struct {
	to         *time.Duration
	least, max time.Duration
	off        string // what 0 means, "" when it means nothing special
}

func (v duration) kind() string {
	kind := "a duration such as `10s`, `1m30s` or `7d`, " + FormatDuration(v.least) + " to " + FormatDuration(v.max)
	if v.off != "" {
		kind += ", or `0s`: " + v.off
	}
	return kind
}

func (v duration) yaml() string { return FormatDuration(*v.to) }

func (v duration) decode(d *decoder, path string, n ast.Node) {
	source := source(n)
	if _, ok := n.(*ast.StringNode); !ok {
		suggestion := ""
		if f, err := strconv.ParseFloat(source, 64); err == nil && f >= v.least.Seconds() && f <= v.max.Seconds() {
			suggestion = strconv.Quote(source + "s")
		}
		d.refuse(n, path, "a duration is a number with a unit, such as 10s, 1m30s or 7d", suggestion)
		return
	}
	length, err := parseDuration(source)
	switch {
	case err != nil:
		d.refuse(n, path, "a duration is a number with a unit, such as 10s, 1m30s or 7d", repairDuration(source))
	case v.off != "" && length == 0:
		*v.to = 0
	case length < v.least || length > v.max:
		d.refuse(n, path, "it must be "+FormatDuration(v.least)+" to "+FormatDuration(v.max), strconv.Quote(FormatDuration(min(max(length, v.least), v.max))))
	default:
		*v.to = length
	}
}

var days = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([dw])`)

// parseDuration adds days and weeks, in front, to the units of Go.
func parseDuration(s string) (time.Duration, error) {
	var total time.Duration
	rest := s
	for m := days.FindStringSubmatch(rest); m != nil; m = days.FindStringSubmatch(rest) {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, err
		}
		unit := 24 * time.Hour
		if m[2] == "w" {
			unit *= 7
		}
		if n *= float64(unit); n > math.MaxInt64/2 {
			return 0, fmt.Errorf("%q is too long", s)
		}
		total += time.Duration(n)
		if rest = rest[len(m[0]):]; rest == "" {
			return total, nil
		}
		if total > math.MaxInt64/2 {
			return 0, fmt.Errorf("%q is too long", s)
		}
	}
	clock, err := time.ParseDuration(rest)
	if err == nil && total > 0 && clock > math.MaxInt64/2-total {
		return 0, fmt.Errorf("%q is too long", s)
	}
	return total + clock, err
}

// repairDuration guesses what was meant by a duration with a unit in words.
func repairDuration(s string) string {
	m := regexp.MustCompile(`^([0-9.]+) *([A-Za-z]*)$`).FindStringSubmatch(s)
	if m == nil {
		return ""
	}
	for _, unit := range []struct{ unit, prefix string }{{"ms", "ms"}, {"ms", "mil"}, {"d", "d"}, {"w", "w"}, {"h", "h"}, {"m", "m"}, {"s", "s"}, {"s", ""}} {
		if strings.HasPrefix(strings.ToLower(m[2]), unit.prefix) && (unit.prefix != "" || m[2] == "") {
			if _, err := parseDuration(m[1] + unit.unit); err == nil {
				return strconv.Quote(m[1] + unit.unit)
			}
		}
	}
	return ""
}

// FormatDuration renders a duration as one writes it in the file.
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// size is a number of bytes.
type size struct{ to *int }

var sizeUnits = []struct {
	name  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}}

func (v size) kind() string { return "a size such as `512KiB`, `64MiB` or `1GB`" }

func (v size) yaml() string {
	for _, u := range sizeUnits {
		if *v.to >= u.bytes && *v.to%u.bytes == 0 {
			return strconv.Itoa(*v.to/u.bytes) + u.name
		}
	}
	return "0B"
}

func (v size) decode(d *decoder, path string, n ast.Node) {
	source := source(n)
	if _, ok := n.(*ast.StringNode); ok {
		for _, u := range sizeUnits {
			if amount, ok := strings.CutSuffix(source, u.name); ok {
				if f, err := strconv.ParseFloat(strings.TrimSpace(amount), 64); err == nil && f >= 0 && f*float64(u.bytes) <= 1<<40 {
					*v.to = int(f * float64(u.bytes))
					return
				}
			}
		}
	}
	suggestion := ""
	if m := regexp.MustCompile(`^([0-9.]+) *([kKmMgG]?)(?:i?[bB])?$`).FindStringSubmatch(source); m != nil {
		suggestion = strconv.Quote(m[1] + map[string]string{"": "B", "k": "KiB", "m": "MiB", "g": "GiB"}[strings.ToLower(m[2])])
	}
	d.refuse(n, path, "a size is a number with a unit, such as 512KiB, 64MiB or 1GB", suggestion)
}

// mode are permissions of a file, in octal.
type mode struct{ to *fs.FileMode }

func (v mode) kind() string { return "permissions in octal, such as `0660`" }

func (v mode) yaml() string {
	if *v.to == 0 {
		return `""`
	}
	return fmt.Sprintf("0%o", *v.to)
}

func (v mode) decode(d *decoder, path string, n ast.Node) {
	bits, err := strconv.ParseUint(strings.TrimPrefix(source(n), "0o"), 8, 32)
	if err != nil || bits == 0 || bits > 0o777 {
		d.refuse(n, path, "permissions are three octal digits, such as 0660 or 0777", "")
		return
	}
	*v.to = fs.FileMode(bits)
}

// stringOf is the text that n holds.
func stringOf(n ast.Node) (string, bool) {
	switch of := n.(type) {
	case *ast.StringNode:
		return of.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(of.Value.Value, "\n"), true
	}
	return "", false
}

// numberOf is the number that n holds.
func numberOf(n ast.Node) (float64, bool) {
	switch of := n.(type) {
	case *ast.IntegerNode:
		switch number := of.Value.(type) {
		case int64:
			return float64(number), true
		case uint64:
			return float64(number), true
		}
	case *ast.FloatNode:
		return of.Value, true
	case *ast.InfinityNode:
		return of.Value, true
	case *ast.StringNode:
		if of.Value == "inf" { // as StatsD writes it
			return math.Inf(1), true
		}
		// The parser takes numbers such as 1e3, which are numbers in YAML 1.2, for text.
		if f, err := strconv.ParseFloat(of.Value, 64); err == nil && of.Token.Type == token.StringType && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f, true
		}
	}
	return 0, false
}

func scalar(n ast.Node) bool {
	_, ok := n.(ast.ScalarNode)
	return ok
}

var bare = regexp.MustCompile(`^[A-Za-z./][A-Za-z0-9_./-]*$|^[0-9.]+:[0-9]+$`)

// quoted renders s as a scalar of YAML that is read back as text.
func quoted(s string) string {
	if bare.MatchString(s) && !slices.Contains([]string{"true", "false", "null", "inf", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(s)
}

func quotedOrNothing(s string) string {
	if s == "" {
		return ""
	}
	return strconv.Quote(s)
}

// either is "a", "b" or "c" in words.
func either(words []string) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = strconv.Quote(w)
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}
