package inventory

import "testing"

func TestPrefix(t *testing.T) {
	seven := int64(7)
	for own, marked := range map[string]string{"accounts/7/values": "accounts/{account}/values", "accounts/7": "accounts/{account}", "accounts/77": "accounts/77", "bots": "bots"} {
		if got := withAccount(own, 7); got != marked {
			t.Errorf("%s is %s", own, got)
		}
		if got, err := ofAccount(marked, &seven); got != own || err != nil {
			t.Errorf("%s is %s, %v", marked, got, err)
		}
	}
	if _, err := ofAccount("accounts/{account}", nil); err == nil {
		t.Error("a bot of the system has an account")
	}
}
