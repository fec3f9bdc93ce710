package courier

import (
	"fmt"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/store"
	"gatepost/internal/witness"
)

// fixRows is what is to be done about rows that no crash leaves.
const fixRows = "No crash leaves this: the disk is damaged, the store was changed by hand, or Gatepost has a fault. Go back to a backup, or ask us with this sentence."

// Moment is the store of one moment: every call of View shows the same.
type Moment interface {
	View(f func(*store.Tx) error) error
}

// tables are what is kept of reports of ours: each row as a name and a text,
// and what the text must be.
var tables = []struct {
	query string
	wrong func(text string) error
	say   string // with the name and the error
}{
	{`SELECT domain, detail FROM mail_sum`, witness.Sound, "What is to be reported to %s cannot be read: %v."},
	{`SELECT domain, domain FROM mail_sum UNION ALL SELECT domain, domain FROM report_out`, func(text string) error {
		_, err := addr.ParseDomain(text)
		return err
	}, "%s is to be told, which is no domain: %v."},
	{`SELECT domain, kind FROM report_out`, func(text string) error {
		if k := Kind(text); k != TLS && k != DMARC {
			return fmt.Errorf("%q is no kind of report", text)
		}
		return nil
	}, "A report to %s cannot be used: %v."},
	{`SELECT domain, state FROM report_out`, func(text string) error {
		switch State(text) {
		case Waiting, Queued, Taken, Failed, Done:
			return nil
		}
		return fmt.Errorf("%q is no state", text)
	}, "What became of a report to %s is not known: %v."},
}

// Check reads every row of a moment that is kept of reports of ours, and
// tells what is wrong. It changes nothing.
func Check(n Moment, found func(audit.Finding)) error {
	for _, t := range tables {
		err := n.View(func(tx *store.Tx) error {
			return tx.Texts(t.query, func(name, text string) {
				if err := t.wrong(text); err != nil {
					found(audit.Finding{Check: "reports", Level: audit.Failure, Text: fmt.Sprintf(t.say, name, err), Fix: fixRows})
				}
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
