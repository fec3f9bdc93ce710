// Package tables checks what the store holds, row by row, for those whose
// tables they are.
package tables

import (
	"fmt"

	"gatepost/internal/audit"
	"gatepost/internal/store"
)

// Moment is the store of one moment: every call of View shows the same.
type Moment interface {
	View(f func(*store.Tx) error) error
}

// Rule is what the rows of a table must be.
type Rule struct {
	Query string // each row as a name and a text
	Wrong func(text string) error
	Say   string // with the name and the error
}

// Check reads the rows of all rules, and tells what is wrong under the name
// of a check. It changes nothing.
func Check(n Moment, check string, rules []Rule, found func(audit.Finding)) error {
	for _, r := range rules {
		err := n.View(func(tx *store.Tx) error {
			return tx.Texts(r.Query, func(name, text string) {
				if err := r.Wrong(text); err != nil {
					found(audit.Finding{Check: check, Level: audit.Failure, Text: fmt.Sprintf(r.Say, name, err), Fix: audit.FixRows})
				}
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
