package forward

import (
	"errors"
	"strings"
	"testing"

	"gatepost/internal/audit"
	"gatepost/internal/store"
)

// within is the store in the middle of a transaction.
type within struct{ tx *store.Tx }

func (w within) View(f func(*store.Tx) error) error { return f(w.tx) }

// Every row is checked, and a sound one is not told.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.address(message(1, "joe@author.example", 1))
	undo := errors.New("undo")
	for spoil, want := range map[string]string{
		"":                                   "",
		`UPDATE forward SET token = 'x'`:     "forwarded from sales@example.org cannot be used: its name has 1 octets.",
		`UPDATE forward SET sender = ''`:     "forwarded from sales@example.org cannot be used: its sender is ",
		`UPDATE forward SET sender = 'a b@'`: "forwarded from sales@example.org cannot be used: its sender is ",
	} {
		var list []audit.Finding
		err := s.o.Store.Update(t.Context(), func(tx *store.Tx) error {
			if spoil != "" {
				if n, err := tx.Exec(spoil); err != nil || n != 1 {
					t.Errorf("%s: %d rows, %v", spoil, n, err)
				}
			}
			return errors.Join(Check(within{tx}, func(f audit.Finding) { list = append(list, f) }), undo)
		})
		if !errors.Is(err, undo) {
			t.Fatal(err)
		}
		if (len(list) == 1) != (want != "") || len(list) > 1 || want != "" && !strings.Contains(list[0].Text, want) {
			t.Errorf("%s: %+v, want %s", spoil, list, want)
		}
	}
}
