package forward

import (
	"fmt"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/forward/token"
	"gatepost/internal/store"
)

// Moment is the store of one moment: every call of View shows the same.
type Moment interface {
	View(f func(*store.Tx) error) error
}

// Check reads every return address of a moment, and tells what is wrong. It
// changes nothing.
func Check(n Moment, found func(audit.Finding)) error {
	return n.View(func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT token, alias, sender FROM forward`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var (
				name          []byte
				alias, sender string
			)
			if err := rows.Scan(&name, &alias, &sender); err != nil {
				return err
			}
			if err := sound(name, sender); err != nil {
				found(audit.Finding{
					Check: "forward", Level: audit.Failure,
					Text: fmt.Sprintf("A return address of mail that was forwarded from %s cannot be used: %v.", alias, err),
					Fix:  audit.FixRows,
				})
			}
		}
		return rows.Err()
	})
}

// sound reports what is wrong with a row.
func sound(name []byte, sender string) error {
	if len(name) != len(token.Token{}.Name()) {
		return fmt.Errorf("its name has %d octets", len(name))
	}
	if _, err := addr.Parse(sender); err != nil {
		return fmt.Errorf("its sender is %w", err)
	}
	return nil
}
