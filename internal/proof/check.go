package proof

import (
	"encoding/json"
	"fmt"

	"gatepost/internal/audit"
	"gatepost/internal/mtasts"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/transport"
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
	{`SELECT domain, policy FROM sts_policy`, func(text string) error {
		_, err := mtasts.ParsePolicy(text)
		return err
	}, "The MTA-STS policy of %s cannot be read: %v."},
	{`SELECT domain, level FROM tls_level`, func(text string) error {
		_, err := transport.ParseLevel(text)
		return err
	}, "What %s reached cannot be read: %v."},
	{`SELECT domain, policy FROM tls_sum`, func(text string) error {
		return json.Unmarshal([]byte(text), &new(tlsrpt.Sum).Policy)
	}, "A policy in the sums for %s cannot be read: %v."},
	{`SELECT domain, failure FROM tls_sum`, func(text string) error {
		return json.Unmarshal([]byte(text), &new(tlsrpt.Sum).Failure)
	}, "A failure in the sums for %s cannot be read: %v."},
	{`SELECT recipients, CAST(LENGTH(spool) AS TEXT) FROM proof WHERE LENGTH(spool) <> 16
		OR NOT EXISTS (SELECT 1 FROM hop WHERE hop.id = proof.hop)`, func(text string) error {
		return fmt.Errorf("its id has %s octets, or its connection is gone", text)
	}, "The proof of what %s got cannot be used: %v."},
	{`SELECT client, CAST(LENGTH(spool) AS TEXT) FROM arrival WHERE LENGTH(spool) <> 16`, func(text string) error {
		return fmt.Errorf("its id has %s octets", text)
	}, "How a message came from %s cannot be used: %v."},
	{`SELECT s.name, CAST(s.next AS TEXT) FROM sequence s WHERE s.name = 'hop' AND s.next <= (SELECT COALESCE(MAX(id), 0) FROM hop)`,
		func(text string) error { return fmt.Errorf("it goes on with %s", text) }, "The sequence %s gives ids twice: %v."},
}

// Check reads every row of a moment that is kept here, and tells what is
// wrong. It changes nothing.
func Check(n Moment, found func(audit.Finding)) error {
	for _, t := range tables {
		err := n.View(func(tx *store.Tx) error {
			return tx.Texts(t.query, func(name, text string) {
				if err := t.wrong(text); err != nil {
					found(audit.Finding{Check: "protection", Level: audit.Failure, Text: fmt.Sprintf(t.say, name, err), Fix: fixRows})
				}
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}
