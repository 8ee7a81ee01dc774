package countergroup

import (
	"fmt"
	"strings"
)

// ParseGUID returns the canonical form of a GUID, upper case in braces:
// {4CD742B1-C1CA-4708-BE78-0FCA2EB01A86}. It takes any case; the braces must be there.
func ParseGUID(s string) (string, error) {
	bad := func(reason string) (string, error) {
		return "", fmt.Errorf("cannot read GUID %.64q: %s; it is written {XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX} with hexadecimal digits", s, reason)
	}
	if !strings.HasPrefix(s, "{") || !strings.HasSuffix(s, "}") {
		return bad("it is not in braces")
	}
	if len(s) != 38 {
		return bad(fmt.Sprintf("it has %d characters, not 38", len(s)))
	}
	for i := 1; i < 37; i++ {
		c := s[i]
		if i == 9 || i == 14 || i == 19 || i == 24 {
			if c != '-' {
				return bad(fmt.Sprintf("%q stands where '-' is expected", c))
			}
		} else if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'F' || c >= 'a' && c <= 'f') {
			return bad(fmt.Sprintf("%q is not a hexadecimal digit", c))
		}
	}
	return strings.ToUpper(s), nil
}
