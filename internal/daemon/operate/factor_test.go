package operate

import (
	"strings"
	"testing"

	"gatepost/internal/config"
)

// A host name that changed leaves passkeys behind, and the check says whose and
// what to do.
func TestOrphaned(t *testing.T) {
	t.Parallel()
	cfg := &config.Config{Hostname: "mx.example.org"}
	if list := orphaned(cfg, map[string]int{"mx.example.org": 7}); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	list := orphaned(cfg, map[string]int{"mx.example.org": 7, "mail.example.org": 2, "old.example.org": 1})
	if len(list) != 2 || list[0].Text != "The passkeys of 2 accounts were made for mail.example.org, and open nothing at mx.example.org." ||
		!strings.HasPrefix(list[1].Text, "The passkeys of 1 account were made for old.example.org") ||
		!strings.HasPrefix(list[0].Fix, "Set hostname back to mail.example.org; or") {
		t.Errorf("%+v", list)
	}
}
