package snmp

import (
	"math"
	"strings"
	"testing"
)

func TestExpression(t *testing.T) {
	values := []float64{68000, 200, -3, 0}
	for text, want := range map[string]float64{
		"$1": 68000, "$1 + $2": 68200, "$1/$2": 340, "$2 * 8": 1600, "1/0": 0, "div($1, $4)": 0, "$1 / $4 + 1": 1,
		"7 % 3": 1, "-7 % 3": -1, "10 * 7 % 4": 30, "12 / 7 % 4": 4, "mod(7, 4)": 3, "2^3^2": 64, "-2^2": -4, "2^-1": 0.5, "(2)^[3]": 8, "- -2": 2, "2 - -2": 4, "+5": 5,
		"1 + 2 * 3": 7, "(1 + 2) * 3": 9, "[1 + 2] * 3": 9, "10 - 3 - 2": 5, "100 / 10 / 5": 2, "1e3 + 1.5E-1 + .5": 1000.65,
		"1 > 2": 0, "2 > 1": 1, "2 >= 2": 1, "1 <= 0": 0, "1 < 2": 1, "1 = 1": 1, "1 == 2": 0, "1 + 1 == 2": 1, "not 1": 0, "not 0": 1, "not 1 > 2": 1, "not not 5": 1, "(not 0) + 1": 2,
		"$1 > 5 ? 1 : 2": 1, "0 ? 1 : 0 ? 2 : 3": 3, "1 ? 0 ? 4 : 5 : 6": 5, "ifElse($4, 1, 2)": 2, "ifElse($1, 1, 1/0)": 1, "ifElse(1, 2, sqrt(-1))": 2,
		"add(1,2)": 3, "sub(1,2)": -1, "mul(3,2)": 6, "div(6,4)": 1.5, "pow(2,10)": 1024, "sqrt(9)": 3, "log(e)": 1, "log(8, 2)": 3, "sin(0)": 0, "cos(0)": 1, "tan(0)": 0, "round(cos(pi))": -1,
		"min(3,1,2)": 1, "max(3,1,$2)": 200, "min(4)": 4, "round(2.5)": 2, "round(3.5)": 4, "round(2.345, 1)": 2.3, "trunc(-2.7)": -2, "sgn(-3)": -1, "sgn(0)": 0, "sgn(9)": 1,
		"npv(0.5, 1, 3, 9)": 7, "npv(0, 1, 2, 3)": 6, "round(irr(-100, 110), 9)": 0.1, "round(irr(-100, 60, 60), 6)": 0.130662, "irr(-100, 100)": 0,
	} {
		e, err := parseExpression(text, len(values))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := e.of(values); err != nil || math.Abs(got-want) > 1e-9 {
			t.Errorf("%s is %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"": "it ends too early", "1 +": "it ends too early", "(1": `")" is missing`, "(1]": `")" is missing before "]" at character 3`, "1)": `")" at character 2 does not fit there`, "1 2": `"2" at character 3`,
		"$0": "there is no $0, only $1 to $4", "$5": "there is no $5", "$": "there is no $", "$x": "there is no $x", "$99999999999999999999": "there is no", "foo": `does not know "foo"; there are add, cos,`,
		"foo(1)": "does not know", "sqrt": `"(" is missing`, "sqrt(1,2)": "sqrt takes one number, not 2", "log(1,2,3)": "log takes 1 or 2 numbers", "pow(1)": "pow takes 2 numbers", "npv(1)": "at least 2 numbers",
		"1..2": "is not a number", "1 ? 2": `":" is missing`, "1 & 2": `"&" at character 3`, "__import__": "does not know", "a;b": "does not know", "é": "does not fit", "1 + not 0": "does not fit",
		strings.Repeat("(", 60) + "1": "nested deeper than 50", strings.Repeat("-", 60) + "1": "nested deeper than 50", strings.Repeat("not ", 60) + "1": "nested deeper than 50",
		strings.Repeat("1?", 60) + "1": "nested deeper than 50", strings.Repeat("sqrt(", 60) + "1": "nested deeper than 50", strings.Repeat("1+", 500) + "1": "it has 1001 bytes, more than 1000",
	} {
		if _, err := parseExpression(text, len(values)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), `cannot use the expression "`) {
			t.Errorf("%.40s: %v", text, err)
		}
	}
	for _, text := range []string{"sqrt(-1)", "log(0)", "log($3)", "1 % 0", "mod(1, 0)", "10^1000", "irr(1, 1)"} {
		e, err := parseExpression(text, len(values))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.of(values); err == nil {
			t.Errorf("%s is %v", text, got)
		}
	}
	long, err := parseExpression(strings.Repeat("1+", 499)+"1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := long.of(nil); got != 500 {
		t.Error(got)
	}
	e, err := parseExpression("$3 + $1 * $3", 3)
	if err != nil || len(e.refs) != 2 || e.refs[0] != 1 || e.refs[1] != 3 {
		t.Error(e, err)
	}
}

func FuzzExpression(f *testing.F) {
	for _, seed := range []string{"$1 + $2 * (3 - 4) / 5 % 6 ^ 7", "not $1 > 2 ? ifElse(1,2,3) : npv(0.1, 1, 2)", "irr(-1, 2, 3)", "[1]", "((((", "1e", "$", "--1", "max(1,2,3,4,5,6)"} {
		f.Add(seed, 1.5, -2.0)
	}
	f.Fuzz(func(t *testing.T, text string, a, b float64) {
		e, err := parseExpression(text, 2)
		if err != nil {
			return
		}
		if got, err := e.of([]float64{a, b}); err == nil && (math.IsNaN(got) || math.IsInf(got, 0)) {
			t.Errorf("%q is %v", text, got)
		}
	})
}
