package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	var out, errs bytes.Buffer
	if code := Main([]string{"version"}, &out, &errs); code != exitOK || !strings.HasPrefix(out.String(), "weir "+version+" go") {
		t.Errorf("code %d, output %q, errors %q", code, out.String(), errs.String())
	}
}

func TestWrongArguments(t *testing.T) {
	var out, errs bytes.Buffer
	if code := Main([]string{"no-such-command"}, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "no-such-command") {
		t.Errorf("code %d, errors %q", code, errs.String())
	}
}
