package inventory

import (
	"fmt"
	"strconv"
	"strings"
)

// accountMark stands for the number of an account in the prefixes of a File.
const accountMark = "{account}"

// withAccount puts the mark in the place of the number of an account.
func withAccount(prefix string, account int64) string {
	own := "accounts/" + strconv.FormatInt(account, 10)
	if rest, ok := strings.CutPrefix(prefix, own); ok && (rest == "" || rest[0] == '/') {
		return "accounts/" + accountMark + rest
	}
	return prefix
}

// ofAccount puts the number of an account, nil for none, in the place of the mark.
func ofAccount(prefix string, account *int64) (string, error) {
	if account == nil {
		if strings.Contains(prefix, accountMark) {
			return "", fmt.Errorf("the prefix %q names an account, and the bot belongs to none", prefix)
		}
		return prefix, nil
	}
	return strings.ReplaceAll(prefix, accountMark, strconv.FormatInt(*account, 10)), nil
}
