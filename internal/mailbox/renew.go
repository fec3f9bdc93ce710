package mailbox

import (
	"time"

	"gatepost/internal/store"
)

// ahead is how far the clocks of two machines may be apart, and how fast
// somebody may make folders.
const ahead = time.Minute

// Renew gives every folder a UIDVALIDITY that it never had, in a store that
// was brought back from an earlier time: what clients know of UIDs since then
// must not be taken for what is there now (RFC 9051, section 2.3.1.1). Since
// it is by the clock, it is also greater than what the store's former life has
// given out after that time.
func Renew(tx *store.Tx, now time.Time) error {
	now = now.Add(ahead)
	for _, step := range []struct {
		query string
		args  []any
	}{
		{`UPDATE mailbox SET uidvalidity = CASE WHEN uidvalidity < ? THEN ? ELSE uidvalidity + 1 END`,
			[]any{now.Unix(), now.Unix()}},
		// No two folders of a mailbox share one: a folder may be renamed to
		// the name of another.
		{`UPDATE folder SET uidvalidity = (SELECT x.uidvalidity FROM mailbox x WHERE x.account = folder.account)
			+ (SELECT COUNT(*) FROM folder o WHERE o.account = folder.account AND o.id < folder.id)`, nil},
		{`UPDATE mailbox SET uidvalidity = uidvalidity
			+ (SELECT COUNT(*) FROM folder o WHERE o.account = mailbox.account)`, nil},
	} {
		if _, err := tx.Exec(step.query, step.args...); err != nil {
			return err
		}
	}
	return nil
}
