package reputation

import (
	"bytes"
	"encoding/json"
	"fmt"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/store"
)

// fixRows is what is to be done about rows that no crash leaves.
const fixRows = "No crash leaves this: the disk is damaged, the store was changed by hand, or Gatepost has a fault. Go back to a backup, or ask us with this sentence."

// Moment is the store of one moment: every call of View shows the same.
type Moment interface {
	View(f func(*store.Tx) error) error
}

// tables are what is kept here: each row as a name and a text, and what the
// text must be.
var tables = []struct {
	query string
	wrong func(text string) error
	say   string // with the name and the error
}{
	{`SELECT domain, detail FROM report_sum WHERE kind = '` + kindDMARC + `'`, strictly[Mail], "What reports say of mail by %s cannot be read: %v."},
	{`SELECT domain, detail FROM report_sum WHERE kind = '` + kindTLS + `'`, strictly[Sessions], "What reports say of TLS with %s cannot be read: %v."},
	{`SELECT domain, detail FROM report_sum WHERE kind = '` + kindFailure + `'`, strictly[Failed], "What reports say of a failure of %s cannot be read: %v."},
	{`SELECT domain, kind FROM report_sum UNION ALL SELECT domain, kind FROM report_seen`, func(text string) error {
		switch text {
		case kindDMARC, kindTLS, kindFailure:
			return nil
		}
		return fmt.Errorf("%q is no kind of report", text)
	}, "A report on %s cannot be used: %v."},
	{`SELECT sender, domain FROM report_sum UNION ALL SELECT sender, domain FROM report_seen`, func(text string) error {
		_, err := addr.ParseDomain(text)
		return err
	}, "A report by %s is about no domain: %v."},
	{`SELECT domain, CAST(number AS TEXT) FROM report_sum WHERE number < 1`, func(text string) error {
		return fmt.Errorf("it is %s", text)
	}, "A number in the reports on %s makes no sense: %v."},
}

// strictly reports whether a text is JSON of a type.
func strictly[T any](text string) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	return d.Decode(new(T))
}

// Check reads every row of a moment that is kept here, and tells what is
// wrong. It changes nothing.
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
