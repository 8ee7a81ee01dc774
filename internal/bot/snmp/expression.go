package snmp

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Bounds of expressions (section 8).
const (
	maxExpression = 1000 // bytes
	maxDepth      = 50   // of brackets, signs, functions and conditions within each other
)

// expression is a formula over the values of a sensor's OIDs, $1 for the first one. It does not change.
type expression struct {
	root node
	refs []int // which values it needs, from 1, ascending
}

// node is a part of a formula: a number for given values.
type node func(values []float64) float64

// parseExpression reads a formula over count values (section 5.3).
func parseExpression(text string, count int) (*expression, error) {
	fail := func(err error) (*expression, error) {
		return nil, fmt.Errorf("cannot use the expression %q: %w", shortened(text), err)
	}
	if len(text) > maxExpression {
		return fail(fmt.Errorf("it has %d bytes, more than %d", len(text), maxExpression))
	}
	p := &parser{text: text, count: count}
	p.next()
	root, err := p.condition(0)
	if err != nil {
		return fail(err)
	}
	if p.token != "" {
		return fail(p.unexpected())
	}
	slices.Sort(p.refs)
	return &expression{root, slices.Compact(p.refs)}, nil
}

// errNotFinite is what a formula without a result comes to.
var errNotFinite = errors.New("its result is not a number")

// of is the result for values, the first of which is $1.
func (e *expression) of(values []float64) (float64, error) {
	result := e.root(values)
	if math.IsNaN(result) || math.IsInf(result, 0) {
		return 0, errNotFinite
	}
	return result, nil
}

// parser reads a formula from left to right, one token ahead.
type parser struct {
	text  string
	at    int    // behind the token
	token string // "" at the end
	begin int    // of the token
	count int
	refs  []int
}

// next takes one token: a number, a name, $N, or an operator.
func (p *parser) next() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	p.begin = p.at
	rest := p.text[p.at:]
	n := 0
	switch {
	case rest == "":
	case digit(rest[0]) || rest[0] == '.':
		n = numberLength(rest)
	case rest[0] == '$' || letter(rest[0]):
		for n = 1; n < len(rest) && (letter(rest[n]) || digit(rest[n])); n++ {
		}
	case len(rest) > 1 && rest[1] == '=' && strings.IndexByte("<>=", rest[0]) >= 0:
		n = 2
	default:
		n = 1
	}
	p.token = rest[:n]
	p.at += n
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }

// numberLength is how much of text is a number like 1, 1.5 or 1e-3.
func numberLength(text string) int {
	n := 0
	for n < len(text) && (digit(text[n]) || text[n] == '.') {
		n++
	}
	if n < len(text) && (text[n] == 'e' || text[n] == 'E') {
		m := n + 1
		if m < len(text) && (text[m] == '+' || text[m] == '-') {
			m++
		}
		if m < len(text) && digit(text[m]) {
			for n = m; n < len(text) && digit(text[n]); n++ {
			}
		}
	}
	return n
}

func (p *parser) unexpected() error {
	if p.token == "" {
		return errors.New("it ends too early")
	}
	return fmt.Errorf("%q at character %d does not fit there", p.token, p.begin+1)
}

// take goes on behind token, if it is what comes now.
func (p *parser) take(token string) bool {
	if p.token != token {
		return false
	}
	p.next()
	return true
}

func (p *parser) demand(token string) error {
	if !p.take(token) {
		if p.token == "" {
			return fmt.Errorf("it ends where %q is missing", token)
		}
		return fmt.Errorf("%q is missing before %q at character %d", token, p.token, p.begin+1)
	}
	return nil
}

// condition is c ? a : b, or less.
func (p *parser) condition(depth int) (node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	of, err := p.negation(depth)
	if err != nil || !p.take("?") {
		return of, err
	}
	yes, err := p.condition(depth + 1)
	if err != nil {
		return nil, err
	}
	if err := p.demand(":"); err != nil {
		return nil, err
	}
	no, err := p.condition(depth + 1)
	if err != nil {
		return nil, err
	}
	return choose(of, yes, no), nil
}

func choose(of, yes, no node) node {
	return func(v []float64) float64 {
		if of(v) != 0 {
			return yes(v)
		}
		return no(v)
	}
}

// negation is "not a", or less.
func (p *parser) negation(depth int) (node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	if !p.take("not") {
		return p.chain(depth, comparisons)
	}
	of, err := p.negation(depth + 1)
	if err != nil {
		return nil, err
	}
	return func(v []float64) float64 { return truth(of(v) == 0) }, nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

type operation func(a, b float64) float64

// divide answers 0 where there is no quotient, as expressions were always evaluated.
func divide(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Operators from the weakest to the strongest; those of one level are taken from left to right.
const (
	comparisons = iota
	sums
	products
	remainders
	signs
)

var operators = [signs]map[string]operation{
	comparisons: {
		">":  func(a, b float64) float64 { return truth(a > b) },
		"<":  func(a, b float64) float64 { return truth(a < b) },
		">=": func(a, b float64) float64 { return truth(a >= b) },
		"<=": func(a, b float64) float64 { return truth(a <= b) },
		"=":  func(a, b float64) float64 { return truth(a == b) },
		"==": func(a, b float64) float64 { return truth(a == b) },
	},
	sums: {
		"+": func(a, b float64) float64 { return a + b },
		"-": func(a, b float64) float64 { return a - b },
	},
	products: {
		"*": func(a, b float64) float64 { return a * b },
		"/": divide,
	},
	remainders: {"%": math.Mod},
}

// chain is a row of operators of a level, or less.
func (p *parser) chain(depth, level int) (node, error) {
	if level == signs {
		return p.signed(depth)
	}
	left, err := p.chain(depth, level+1)
	if err != nil {
		return nil, err
	}
	for {
		do, ok := operators[level][p.token]
		if !ok {
			return left, nil
		}
		p.next()
		right, err := p.chain(depth, level+1)
		if err != nil {
			return nil, err
		}
		a := left
		left = func(v []float64) float64 { return do(a(v), right(v)) }
	}
}

// signed is -a or +a, which reach over ^, or less.
func (p *parser) signed(depth int) (node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	if p.take("+") {
		return p.signed(depth + 1)
	}
	if !p.take("-") {
		return p.power(depth)
	}
	of, err := p.signed(depth + 1)
	if err != nil {
		return nil, err
	}
	return func(v []float64) float64 { return -of(v) }, nil
}

// power is a ^ b ^ c, taken from left to right, or less.
func (p *parser) power(depth int) (node, error) {
	left, err := p.operand(depth)
	for err == nil && p.take("^") {
		negative := p.take("-")
		var right node
		if right, err = p.operand(depth); err != nil {
			break
		}
		a := left
		left = func(v []float64) float64 {
			if negative {
				return math.Pow(a(v), -right(v))
			}
			return math.Pow(a(v), right(v))
		}
	}
	return left, err
}

// operand is a number, a name, a value, a function or something in brackets.
func (p *parser) operand(depth int) (node, error) {
	token := p.token
	switch {
	case token == "(" || token == "[":
		p.next()
		of, err := p.condition(depth + 1)
		if err != nil {
			return nil, err
		}
		return of, p.demand(map[string]string{"(": ")", "[": "]"}[token])
	case token == "":
	case digit(token[0]) || token[0] == '.':
		number, err := strconv.ParseFloat(token, 64)
		if err != nil {
			return nil, fmt.Errorf("%q at character %d is not a number", token, p.begin+1)
		}
		p.next()
		return constant(number), nil
	case token[0] == '$':
		n, err := strconv.Atoi(token[1:])
		if err != nil || n < 1 || n > p.count {
			return nil, fmt.Errorf("there is no %s, only $1 to $%d, one for each OID", token, p.count)
		}
		p.refs = append(p.refs, n)
		p.next()
		return func(v []float64) float64 { return v[n-1] }, nil
	case letter(token[0]) && token != "not":
		return p.named(depth)
	}
	return nil, p.unexpected()
}

func constant(number float64) node { return func([]float64) float64 { return number } }

// named is a constant or a call.
func (p *parser) named(depth int) (node, error) {
	name := p.token
	switch name {
	case "pi":
		p.next()
		return constant(math.Pi), nil
	case "e":
		p.next()
		return constant(math.E), nil
	}
	f, ok := functions[name]
	if !ok {
		return nil, fmt.Errorf("it does not know %q; there are %s", name, strings.Join(functionNames, ", "))
	}
	p.next()
	if err := p.demand("("); err != nil {
		return nil, err
	}
	var arguments []node
	for {
		argument, err := p.condition(depth + 1)
		if err != nil {
			return nil, err
		}
		arguments = append(arguments, argument)
		if !p.take(",") {
			break
		}
	}
	if err := p.demand(")"); err != nil {
		return nil, err
	}
	if len(arguments) < f.least || len(arguments) > f.most {
		return nil, fmt.Errorf("%s takes %s, not %d", name, f.takes(), len(arguments))
	}
	if name == "ifElse" {
		return choose(arguments[0], arguments[1], arguments[2]), nil
	}
	return func(v []float64) float64 {
		var few [4]float64
		given := few[:0]
		for _, argument := range arguments {
			given = append(given, argument(v))
		}
		return f.of(given)
	}, nil
}

// function is what a name stands for before brackets.
type function struct {
	least, most int // numbers it takes
	of          func(a []float64) float64
}

func (f function) takes() string {
	switch {
	case f.most == many:
		return fmt.Sprintf("at least %d numbers", f.least)
	case f.least != f.most:
		return fmt.Sprintf("%d or %d numbers", f.least, f.most)
	case f.most == 1:
		return "one number"
	}
	return fmt.Sprintf("%d numbers", f.most)
}

const many = maxExpression

var functions = map[string]function{
	"add": {2, 2, func(a []float64) float64 { return a[0] + a[1] }},
	"sub": {2, 2, func(a []float64) float64 { return a[0] - a[1] }},
	"mul": {2, 2, func(a []float64) float64 { return a[0] * a[1] }},
	"div": {2, 2, func(a []float64) float64 { return divide(a[0], a[1]) }},
	"mod": {2, 2, func(a []float64) float64 { return math.Mod(a[0], a[1]) }},
	"pow": {2, 2, func(a []float64) float64 { return math.Pow(a[0], a[1]) }},
	"log": {1, 2, func(a []float64) float64 {
		if len(a) == 2 {
			return math.Log(a[0]) / math.Log(a[1])
		}
		return math.Log(a[0])
	}},
	"sqrt":  {1, 1, func(a []float64) float64 { return math.Sqrt(a[0]) }},
	"sin":   {1, 1, func(a []float64) float64 { return math.Sin(a[0]) }},
	"cos":   {1, 1, func(a []float64) float64 { return math.Cos(a[0]) }},
	"tan":   {1, 1, func(a []float64) float64 { return math.Tan(a[0]) }},
	"min":   {1, many, func(a []float64) float64 { return slices.Min(a) }},
	"max":   {1, many, func(a []float64) float64 { return slices.Max(a) }},
	"trunc": {1, 1, func(a []float64) float64 { return math.Trunc(a[0]) }},
	"round": {1, 2, func(a []float64) float64 {
		if len(a) == 1 {
			return math.RoundToEven(a[0])
		}
		scale := math.Pow(10, math.Trunc(a[1]))
		return math.RoundToEven(a[0]*scale) / scale
	}},
	"sgn": {1, 1, func(a []float64) float64 {
		switch {
		case a[0] > 0:
			return 1
		case a[0] < 0:
			return -1
		}
		return a[0]
	}},
	"ifElse": {3, 3, nil}, // does not look at what it does not choose
	"npv":    {2, many, func(a []float64) float64 { return presentValue(1/(1+a[0]), a[1:]) }},
	"irr":    {2, many, rateOfReturn},
}

var functionNames = func() []string {
	names := []string{"pi", "e"}
	for name := range functions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

// presentValue is what amounts, one a period from now on, are worth now when one of the next
// period is worth discount now.
func presentValue(discount float64, amounts []float64) float64 {
	sum := 0.0
	for _, amount := range slices.Backward(amounts) {
		sum = sum*discount + amount
	}
	return sum
}

// rateOfReturn is the rate nearest to zero at which amounts are worth nothing now, NaN if there is none.
func rateOfReturn(amounts []float64) float64 {
	worth := func(rate float64) float64 { return presentValue(1/(1+rate), amounts) }
	best := math.NaN()
	const steps = 400
	last := -0.999
	for i := 1; i <= steps; i++ { // rates from -0.999 to 1000, closer to each other near -1 and 0
		next := math.Pow(10, -3+6*float64(i)/steps) - 1
		low, high := last, next
		if a, b := worth(low), worth(high); a == 0 {
			high = low
		} else if b == 0 {
			low = high
		} else if (a < 0) == (b < 0) {
			last = next
			continue
		}
		for range 100 {
			middle := (low + high) / 2
			if (worth(middle) < 0) == (worth(low) < 0) {
				low = middle
			} else {
				high = middle
			}
		}
		if math.IsNaN(best) || math.Abs(high) < math.Abs(best) {
			best = high
		}
		last = next
	}
	return best
}

// shortened is text for a message.
func shortened(text string) string {
	if len(text) > 100 {
		return text[:100] + "..."
	}
	return text
}
