package operate

import (
	"context"
	"os"
	"strings"
	"testing"

	"gatepost/internal/audit"
	"gatepost/internal/config"
	"gatepost/internal/daemon/settings"
)

// A list that is damaged, and a password that runs out within two weeks, are
// told; what is well is not.
func TestCheckPasswords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/server"
	setup := Setup{Dir: dir, Hostname: "mx.example.org", Domain: "example.org", Account: "anna@example.org", Password: "correct horse battery"}
	cfg, _, err := Init(context.Background(), setup)
	if err != nil {
		t.Fatal(err)
	}
	check := func() (texts string) {
		t.Helper()
		op, err := Open(context.Background(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer op.Close()
		old, err := checkRunsOut(context.Background(), op)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append(checkLists(cfg, true), old...) {
			if f.Fix == "" || f.Level == audit.OK {
				t.Errorf("%+v", f)
			}
			texts += f.Text + "\n"
		}
		return texts
	}
	if got := check(); got != "" {
		t.Error(got)
	}
	if _, err := LoadBreached(cfg, "-", strings.NewReader("8BE3C943B1609FFFBFC51AAD666D0A04ADF83C9D:1\n"), func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	cfg.Password.MaxAge = config.Span(runsOutSoon)
	if got := check(); !strings.Contains(got, "The password of anna@example.org runs out on ") || strings.Contains(got, "No password") {
		t.Error(got)
	}
	cfg.Password.MaxAge = config.Span(2 * runsOutSoon)
	if err := os.Truncate(settings.Passwords(cfg).File, 20); err != nil {
		t.Fatal(err)
	}
	if got := check(); !strings.HasPrefix(got, "No password can be set: ") || strings.Contains(got, "anna") {
		t.Error(got)
	}
}
