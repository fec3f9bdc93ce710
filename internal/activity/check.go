package activity

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/store"
)

// Moment is the store of one moment: every call of View shows the same.
type Moment interface {
	View(f func(*store.Tx) error) error
}

// Check reads every row of a moment that is kept here, and tells what is
// wrong. It changes nothing.
func Check(n Moment, found func(audit.Finding)) error {
	fail := func(format string, args ...any) {
		found(audit.Finding{Check: "activity", Level: audit.Failure, Text: fmt.Sprintf(format, args...), Fix: audit.FixRows})
	}
	return n.View(func(tx *store.Tx) error {
		last, err := checkEvents(tx, fail)
		if err != nil {
			return err
		}
		if err := checkSequence(tx, last, fail); err != nil {
			return err
		}
		return checkTold(tx, fail)
	})
}

// checkEvents returns the highest id.
func checkEvents(tx *store.Tx, fail func(string, ...any)) (last int64, err error) {
	rows, err := tx.Query(`SELECT id, hour, kind, outcome, owner, account, address, began, ended, times FROM activity`)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var e Event
		var hour, began, ended int64
		var where string
		if err := rows.Scan(&e.ID, &hour, &e.Kind, &e.Outcome, &e.Owner, &e.Account, &where, &began, &ended, &e.Times); err != nil {
			return 0, err
		}
		if why := wrong(&e, where, hour, ended); why != "" {
			fail("The event %d cannot be right: %s.", e.ID, why)
		}
		last = max(last, e.ID)
	}
	return last, rows.Err()
}

// wrong says what is wrong with a row, if anything is.
func wrong(e *Event, where string, hour, ended int64) string {
	_, notIP := netip.ParseAddr(where)
	_, notNetwork := netip.ParsePrefix(where)
	switch {
	case !slices.Contains(Kinds(), e.Kind):
		return fmt.Sprintf("there is no kind %q", e.Kind)
	case e.Outcome != Done && e.Outcome != Refused && e.Outcome != Later:
		return fmt.Sprintf("there is no outcome %q", e.Outcome)
	case where != "" && notIP != nil && notNetwork != nil:
		return fmt.Sprintf("%q is not an address", where)
	case (e.Owner == 0) != (e.Account == ""):
		return "it names an account without its id, or the other way"
	case e.Times < 1:
		return fmt.Sprintf("it happened %d times", e.Times)
	case hour != ended/3600:
		return "it is not of its hour"
	}
	return ""
}

func checkSequence(tx *store.Tx, last int64, fail func(string, ...any)) error {
	var next int64
	err := tx.QueryRow(`SELECT next FROM sequence WHERE name = 'activity'`).Scan(&next)
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case next <= last && last > 0:
		fail("The sequence activity goes on with %d, and %d is given already.", next, last)
	}
	return nil
}

// checkTold checks what is known and told of accounts: each row as a name and
// what is wrong with it.
func checkTold(tx *store.Tx, fail func(string, ...any)) error {
	for _, q := range []struct{ query, say string }{
		{`SELECT DISTINCT sort, CAST(owner AS TEXT) FROM activity_known WHERE sort NOT IN ('country', 'network', 'device', 'address', 'old-tls')`,
			"There is no sort %q of what is usual for account %s."},
		{`SELECT kind, CAST(id AS TEXT) FROM activity_alert WHERE NOT EXISTS (SELECT 1 FROM activity WHERE activity.id = activity_alert.event)`,
			"Of the event that the alert %q (%s) is about nothing is there."},
		{`SELECT a.kind, CAST(a.id AS TEXT) FROM activity_alert a JOIN activity e ON e.id = a.event WHERE a.owner <> e.owner`,
			"The alert %q (%s) is to another account than its event."},
	} {
		if err := each(tx, q.query, func(name, rest string) { fail(q.say, name, rest) }); err != nil {
			return err
		}
	}
	return each(tx, `SELECT address, CAST(account AS TEXT) FROM recovery`, func(address, account string) {
		if _, err := addr.Parse(address); err != nil {
			fail("The recovery address %q of account %s is none.", address, account)
		}
	})
}

// each calls f for each row of two texts.
func each(tx *store.Tx, query string, f func(name, rest string)) error {
	rows, err := tx.Query(query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, rest string
		if err := rows.Scan(&name, &rest); err != nil {
			return err
		}
		f(name, rest)
	}
	return rows.Err()
}
