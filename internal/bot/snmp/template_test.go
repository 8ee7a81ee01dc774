package snmp

import (
	"strings"
	"testing"

	"github.com/weirhq/weir/collector"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"Core 6": "Core-6", "Gi1/0/1": "Gi1-0-1", "eth0.100": "eth0-100", "Intel(R) Ethernet #2": "Intel-R-Ethernet-2", "München": "Munchen", "1,000": "1000", "--a--": "a", "__x__": "__x__",
		"": "", "it's": "it-s", "1,000,000": "1000000", "a,b": "a-b", "1,a": "1-a", ",1,": "1", "a &amp; b": "a-b", "&eacute;t&#233;": "ete", "Straße": "Strasse", "Łódź": "Lodz", "Москва": "Moskva", "Αθήνα": "Athena",
		"東京": "", "a\x00b\xff": "a-b", "a---b": "a-b", "asdf.QWER": "asdf-QWER", "½": "1-2", strings.Repeat("x", 300): strings.Repeat("x", 100), strings.Repeat("x", 99) + " yy": strings.Repeat("x", 99),
	} {
		if got := clean(in); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
}

func TestTemplate(t *testing.T) {
	texts := []string{"60000", "asdf.QWER", ""}
	text := func(ref int) string { return texts[ref-1] }
	for in, want := range map[string]string{
		"t.x": "t.x", "a.{$2}.b{$2}c": "a.asdf-QWER.basdf-QWERc", "t.{$index}": "t.4-20", "{$1}": "60000", "{$index}.{$3}": "4-20.4-20", "{$1}{$2}": "60000asdf-QWER",
	} {
		parts, err := parseTemplate(in, 3, true)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		} else if got := string(parts.fill(nil, "4-20", text)); got != want {
			t.Errorf("%s becomes %s, not %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"": "1 to 1000", strings.Repeat("a", 1001): "1 to 1000", "a b": "it has ' ' in it", "a}": "it has '}' in it", "ä": "'ä'", "{$1": "a } is missing", "{$4}": "{$4} must be {$index} or one of {$1} to {$3}",
		"{$0}": "{$0} must be", "{x}": "{x} must be", "{}": "{} must be", "{$}": "must be", "{1}": "must be", "{$index} ": "' '", "{{$1}}": "must be",
	} {
		if _, err := parseTemplate(in, 3, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v", in, err)
		}
	}
	if _, err := parseTemplate("{$index}", 3, false); err == nil || !strings.Contains(err.Error(), "only when an OID is walked") {
		t.Error(err)
	}
	parts, err := parseTemplate("a.{$3}", 3, false)
	if err != nil || string(parts.fill(nil, "", text)) != "a.-" {
		t.Error(err)
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"Intel(R) Ethernet #2", "1,000", "&amp;&#x41;", "\xff\xfe", "München", "---", "½,½"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cleaned := clean(text)
		if cleaned == "" {
			return
		}
		if err := collector.CheckPath(cleaned); err != nil || len(cleaned) > maxCleaned || strings.ContainsAny(cleaned, ".%") || strings.Trim(cleaned, "-") != cleaned || strings.Contains(cleaned, "--") {
			t.Errorf("%q becomes %q: %v", text, cleaned, err)
		}
		if again := clean(cleaned); again != cleaned {
			t.Errorf("%q becomes %q, and that %q", text, cleaned, again)
		}
	})
}

func FuzzTemplate(f *testing.F) {
	f.Add("a.{$1}.{$index}", "x", "1-2")
	f.Add("{$2}", "", "")
	f.Fuzz(func(t *testing.T, in, text, index string) {
		parts, err := parseTemplate(in, 2, true)
		if err == nil {
			parts.fill(nil, index, func(int) string { return text })
		}
	})
}
