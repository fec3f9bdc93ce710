package account

import (
	"testing"
	"time"

	"gatepost/internal/addr"
)

// Whoever has the former password, or the password alone, and waits while it
// is changed, gets nothing: the sessions that the change ended are not followed
// by one that was only late.
func TestChangedWhileSigningIn(t *testing.T) {
	t.Parallel()
	const anna = "anna@example.org"
	for what, change := range map[string]func(h *house) error{
		"another password": func(h *house) error {
			return h.SetPassword(ctx, addr.MustParse(anna), "pelican turbine marzipan")
		},
		"a second factor": func(h *house) error { h.enrol(anna); return nil },
		"frozen":          func(h *house) error { return h.Freeze(ctx, addr.MustParse(anna)) },
		"removed":         func(h *house) error { return h.RemoveAccount(ctx, addr.MustParse(anna)) },
		"nothing":         func(*house) error { return nil },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.domain("example.org")
			h.accounts(anna)
			from := elsewhere()
			for range 3 { // from here on it waits
				if _, err := h.SignIn(ctx, anna, password+"x", "", from); outcome("", err) != "535 5.7.8" {
					t.Fatal(err)
				}
			}
			before, done := h.clock.Pending(), make(chan error, 1)
			go func() {
				_, err := h.SignIn(ctx, anna, password, "", from)
				done <- err
			}()
			for h.clock.Pending() == before {
				time.Sleep(time.Millisecond)
			}
			if err := change(h); err != nil {
				t.Fatal(err)
			}
			h.clock.Advance(10 * time.Second)
			if err := <-done; (err == nil) != (what == "nothing") || err != nil && outcome("", err) != "535 5.7.8" {
				t.Errorf("%v", err)
			}
		})
	}
}
