package broker

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shown is a metric in full, for comparing: NaN is written as text.
func shown(m *Metric) string {
	number := func(x float64) string { return fmt.Sprint(x) }
	r := func(r Range) string {
		at := ""
		if r.Inside {
			at = "@"
		}
		return at + number(r.Low) + ":" + number(r.High)
	}
	return fmt.Sprintf("%s %d %s %q w=%s c=%s min=%s max=%s", m.Label, m.Type, number(m.Value), m.Unit, r(m.Warning), r(m.Critical), number(m.Min), number(m.Max))
}

func TestPerfdata(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		var got []string
		for _, m := range ParsePerfdata(nil, []byte(text)) {
			got = append(got, shown(&m))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.200q (-want +got):\n%s", text, diff)
		}
	}
	const none = "w=NaN:NaN c=NaN:NaN min=NaN max=NaN"
	f(" percent_packet_loss=0 rta=0.80", `percent_packet_loss 0 0 "" `+none, `rta 0 0.8 "" `+none)
	f(" 'one value'=0;3;5 'another value'=0.89;0.8;1;;",
		`one value 0 0 "" w=0:3 c=0:5 min=NaN max=NaN`, `another value 0 0.89 "" w=0:0.8 c=0:1 min=NaN max=NaN`)
	f(" 'one value'=2s;3;5;0;9 'a b c'=3.14KB;0.8;1;0;10",
		`one value 0 2 "s" w=0:3 c=0:5 min=0 max=9`, `a b c 0 3.14 "KB" w=0:0.8 c=0:1 min=0 max=10`)
	f(" 'one value'=12%;25:80;81:95 'another value'=78%;60;90;;",
		`one value 0 12 "%" w=25:80 c=81:95 min=NaN max=NaN`, `another value 0 78 "%" w=0:60 c=0:90 min=NaN max=NaN`)
	f("                ")
	f("")
	f(" 'one value' 0;3;5")
	f(" 'events'=;;;0;")
	seven := []string{
		`time 0 2.45698 "s" w=NaN:NaN c=NaN:NaN min=NaN max=+Inf`,
		`metric 2 239765 "B/s" w=0:5 c=NaN:NaN min=-Inf max=NaN`,
		`infotraffic 0 18 "x" w=NaN:NaN c=NaN:NaN min=NaN max=NaN`,
		`foo 3 1234 "" w=0:10 c=11:+Inf min=NaN max=NaN`,
		`bar 1 1234 "" w=-Inf:10 c=20:30 min=NaN max=NaN`,
		`baz 0 1234 "" w=@10:20 c=NaN:NaN min=NaN max=NaN`,
		`q u x 0 9 "queries_per_second" w=@10:+Inf c=@5:+Inf min=0 max=100`,
	}
	f("time=2.45698s;;nan;;inf d[metric]=239765B/s;5;;-inf; infotraffic=18x;;;; a[foo]=1234;10;11: c[bar]=1234;~:10;20:30 baz=1234;@10:20; 'q u x'=9queries_per_second;@10:;@5:;0;100", seven...)
	seven[2] = `infotraffic 0 18.6 "x" w=NaN:NaN c=NaN:NaN min=NaN max=NaN`
	f("'  \n time'=2,45698s;;nan;;inf d[metric]=239765B/s;5;;-inf; infotraffic=18,6x;;;; a[foo]=1234;10;11: c[bar]=1234;~:10;20:30 baz=1234;@10:20; 'q u x'=9queries_per_second;@10:;@5:;0;100", seven...)
	f("'ABCD12E'=18.00%;15:;10:;0;100", `ABCD12E 0 18 "%" w=15:+Inf c=10:+Inf min=0 max=100`)
	f("'et'=18.00%;15:;10:;0;100 other=15 et=13.00%", `et 0 18 "%" w=15:+Inf c=10:+Inf min=0 max=100`, `other 0 15 "" `+none)
	f("'d[foo]'=18.00% other=15 a[foo]=13.00%", `foo 2 18 "%" `+none, `other 0 15 "" `+none)
	f("metric1= 10 metric2=42", `metric2 0 42 "" `+none)
	f("metric=kb/s")
	for _, text := range []string{"user1=1 user2=2 =1 user3=3", "user1=1 user2=2 user4= user3=3"} {
		f(text, `user1 0 1 "" `+none, `user2 0 2 "" `+none, `user3 0 3 "" `+none)
	}
	f("  'foo  bar   '=2s;2;5;;", `foo  bar 0 2 "s" w=0:2 c=0:5 min=NaN max=NaN`)
	f("'total'=5;;;0;\r", `total 0 5 "" w=NaN:NaN c=NaN:NaN min=0 max=NaN`)
	f("'xx[aa a aa]'=2;3;7;1;9 '[a aa]'=12;25;50;0;118 'aa a]'=28;13;54;0;80",
		`xx[aa a aa] 0 2 "" w=0:3 c=0:7 min=1 max=9`, `[a aa] 0 12 "" w=0:25 c=0:50 min=0 max=118`, `aa a] 0 28 "" w=0:13 c=0:54 min=0 max=80`)

	// Beyond the table.
	f("g[x]=1", `x 0 1 "" `+none)
	f("a[]=1 ''=1 '  '=1")
	f("'unmatched=1 b=2")
	f("it's=1 b=2") // the quote makes the rest of the text part of the label
	f("a=1 ; b=2;;;;;7;8", `a 0 1 "" `+none, `b 0 2 "" `+none)
	f("x\x80=1", "x\x80 0 1 \"\" "+none)
	f("a=1;@;~:;:5;x", `a 0 1 "" w=@NaN:NaN c=-Inf:+Inf min=NaN max=NaN`)
	f("a=1;:5;~;", `a 0 1 "" w=0:5 c=NaN:NaN min=NaN max=NaN`)
	f(strings.Repeat("é", 200)+"=1"+strings.Repeat("é", 20), strings.Repeat("é", 127)+` 0 1 "`+strings.Repeat("é", 16)+`" `+none)
	f("a=1e3 b=-0x1A c=0x.8p1u d=+.5e-1x e=1e f=infinity g=-nan(12)u h=1.2.3 i=1e999 j=. k=0x l=-1,5 m=123456789012345678 n=0.1e-400",
		`a 0 1000 "" `+none, `b 0 -26 "" `+none, `c 0 1 "u" `+none, `d 0 0.05 "x" `+none, `e 0 1 "e" `+none, `f 0 +Inf "" `+none,
		`g 0 NaN "u" `+none, `h 0 1.2 ".3" `+none, `i 0 +Inf "" `+none, `k 0 0 "x" `+none, `l 0 -1.5 "" `+none, `m 0 1.2345678901234568e+17 "" `+none, `n 0 0 "" `+none)
}

// Metrics are appended, and labels of other texts do not count.
func TestPerfdataAppends(t *testing.T) {
	all := ParsePerfdata(nil, []byte("a=1 b=2"))
	all = ParsePerfdata(all, []byte("a=3 a=4"))
	var got []float64
	for _, m := range all {
		got = append(got, m.Value)
	}
	if diff := cmp.Diff([]float64{1, 2, 3}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Labels that come again are found however many there are.
func TestPerfdataManyLabels(t *testing.T) {
	var text strings.Builder
	const n = 3000
	for round := range 2 {
		for i := range n {
			fmt.Fprintf(&text, "label%d=%d ", i, i+round*n)
		}
	}
	all := ParsePerfdata(nil, []byte(text.String()))
	if len(all) != n {
		t.Fatalf("%d metrics, want %d", len(all), n)
	}
	for i := range all {
		if want := fmt.Sprint("label", i); string(all[i].Label) != want || all[i].Value != float64(i) {
			t.Fatalf("metric %d is %q=%v", i, all[i].Label, all[i].Value)
		}
	}
}

func TestPerfdataParts(t *testing.T) {
	f := func(text, name, instance string, subinstances, fields []string, unit string) {
		t.Helper()
		all := ParsePerfdata(nil, []byte(text))
		if len(all) != 1 {
			t.Fatalf("%q has %d metrics", text, len(all))
		}
		m := &all[0]
		pieces := func(list [][]byte) []string {
			var all []string
			for _, b := range list {
				all = append(all, string(b))
			}
			return all
		}
		if string(m.Name()) != name || string(m.Instance()) != instance || string(m.NameUnit()) != unit {
			t.Errorf("%q: name %q, instance %q, unit %q; want %q, %q, %q", text, m.Name(), m.Instance(), m.NameUnit(), name, instance, unit)
		}
		if diff := cmp.Diff(subinstances, pieces(m.AppendSubinstances(nil))); diff != "" {
			t.Errorf("%q: subinstances (-want +got):\n%s", text, diff)
		}
		if diff := cmp.Diff(fields, pieces(m.AppendFields(nil))); diff != "" {
			t.Errorf("%q: fields (-want +got):\n%s", text, diff)
		}
	}
	text := " 'PingSDWan~vdom~ifName#azure.insights.logicaldisk.free.percentage'=94.82%;;;0;100"
	f(text, "azure.insights.logicaldisk.free.percentage", "PingSDWan", []string{"vdom", "ifName"},
		[]string{"azure", "insights", "logicaldisk", "free", "percentage"}, "percentage")
	m := ParsePerfdata(nil, []byte(text))[0]
	if m.Min != 0 || m.Max != 100 || !math.IsNaN(m.Warning.Low) || !math.IsNaN(m.Critical.High) {
		t.Errorf("%q: %s", text, shown(&m))
	}
	f(" 'PingSDWan~vdom~ifName#azure.insights#logicaldisk~free.percentage'=94.82%;;;0;100", "azure.insights#logicaldisk~free.percentage", "PingSDWan",
		[]string{"vdom", "ifName"}, []string{"azure", "insights#logicaldisk~free", "percentage"}, "percentage")
	f(" toto~a.b.totu=12g;0;20;10;15", "toto~a.b.totu", "", nil, []string{"toto~a", "b", "totu"}, "totu")
	f(" tt#a.b=5;1;2", "a.b", "tt", nil, []string{"a", "b"}, "b")
	f(" #metric~titus=3s;1;8", "metric~titus", "", nil, []string{"metric~titus"}, "#metric~titus")
	f("plain=1", "plain", "", nil, []string{"plain"}, "plain")
}

func FuzzPerfdata(f *testing.F) {
	f.Add([]byte("time=2.45698s;;nan;;inf d[metric]=239765B/s;5;;-inf; 'q u x'=9q;@10:;@5:;0;100"))
	f.Add([]byte("'a~b#c.d'=1,5 a=0x1p-3;~:1 b=nan(1) =1 x= y"))
	f.Fuzz(func(t *testing.T, text []byte) {
		before := string(text)
		seen := map[string]bool{}
		for _, m := range ParsePerfdata(nil, text) {
			label := string(m.Label)
			if label == "" || len(label) > maxLabel || len(m.Unit) > maxUnit || seen[label] {
				t.Errorf("label %q, unit %q; before: %v", label, m.Unit, seen)
			}
			seen[label] = true
			if !strings.Contains(before, label) || !strings.Contains(before, string(m.Unit)) {
				t.Errorf("label %q or unit %q is not part of the text", label, m.Unit)
			}
			if joined := strings.Join(stringsOf(m.AppendFields(nil)), "."); joined != string(m.Name()) {
				t.Errorf("fields %q of name %q", joined, m.Name())
			}
			m.AppendSubinstances(nil)
		}
		if string(text) != before {
			t.Error("the text was changed")
		}
	})
}

func stringsOf(pieces [][]byte) []string {
	all := make([]string, len(pieces))
	for i, b := range pieces {
		all[i] = string(b)
	}
	return all
}
