package reputation

import (
	"context"
	"testing"

	"gatepost/internal/audit"
	"gatepost/internal/store"
)

// snapshot is the store as the deep check sees it.
type snapshot struct{ db *store.DB }

func (s snapshot) View(f func(*store.Tx) error) error { return s.db.View(context.Background(), f) }

// What was counted is sound; a deep check tells of rows that nobody has
// written so.
func TestCheck(t *testing.T) {
	t.Parallel()
	k := newKit(t, "example.org")
	k.mail("dmarc-reports@example.org", proved, dmarcLetter(t, "dmarc@peer.example", report("example.org", "1", row("192.0.2.1", 3, true, false))))
	k.expect("1 taken, 0 again, 0 refused")
	if err := Check(snapshot{k.o.DB}, func(f audit.Finding) { t.Error(f.Text) }); err != nil {
		t.Fatal(err)
	}
	err := k.o.DB.Update(t.Context(), func(tx *store.Tx) error {
		for _, values := range []string{
			`'dmarc', 'example.org', 1, 'a.example', 0, '{', 1`, `'tls', 'example.org', 1, 'a.example', 0, '{"unknown":1}', 1`,
			`'failure', 'example.org', 1, 'a.example', 0, '[]', 1`, `'other', 'example.org', 1, 'a.example', 0, '{}', 1`,
			`'dmarc', 'a b', 1, 'a.example', 0, '{}', 1`, `'dmarc', 'example.org', 1, 'a.example', 0, '{}', 0`,
		} {
			if _, err := tx.Exec(`INSERT INTO report_sum (kind, domain, proven, sender, day, detail, number) VALUES (` + values + `)`); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := Check(snapshot{k.o.DB}, func(audit.Finding) { n++ }); err != nil || n != 6 {
		t.Errorf("%d findings, %v", n, err)
	}
}
