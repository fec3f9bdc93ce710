package proof

import (
	"encoding/json"
	"fmt"

	"gatepost/internal/audit"
	"gatepost/internal/mtasts"
	"gatepost/internal/tables"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/transport"
)

// rules are for what is kept here: each row as a name and a text, and what the
// text must be.
var rules = []tables.Rule{
	{Query: `SELECT domain, policy FROM sts_policy`, Wrong: func(text string) error {
		_, err := mtasts.ParsePolicy(text)
		return err
	}, Say: "The MTA-STS policy of %s cannot be read: %v."},
	{Query: `SELECT domain, level FROM tls_level`, Wrong: func(text string) error {
		_, err := transport.ParseLevel(text)
		return err
	}, Say: "What %s reached cannot be read: %v."},
	{Query: `SELECT domain, policy FROM tls_sum`, Wrong: func(text string) error {
		return json.Unmarshal([]byte(text), &new(tlsrpt.Sum).Policy)
	}, Say: "A policy in the sums for %s cannot be read: %v."},
	{Query: `SELECT domain, failure FROM tls_sum`, Wrong: func(text string) error {
		return json.Unmarshal([]byte(text), &new(tlsrpt.Sum).Failure)
	}, Say: "A failure in the sums for %s cannot be read: %v."},
	{Query: `SELECT recipients, CAST(LENGTH(spool) AS TEXT) FROM proof WHERE LENGTH(spool) <> 16
		OR NOT EXISTS (SELECT 1 FROM hop WHERE hop.id = proof.hop)`, Wrong: func(text string) error {
		return fmt.Errorf("its id has %s octets, or its connection is gone", text)
	}, Say: "The proof of what %s got cannot be used: %v."},
	{Query: `SELECT client, CAST(LENGTH(spool) AS TEXT) FROM arrival WHERE LENGTH(spool) <> 16`, Wrong: func(text string) error {
		return fmt.Errorf("its id has %s octets", text)
	}, Say: "How a message came from %s cannot be used: %v."},
	{Query: `SELECT s.name, CAST(s.next AS TEXT) FROM sequence s WHERE s.name = 'hop' AND s.next <= (SELECT COALESCE(MAX(id), 0) FROM hop)`,
		Wrong: func(text string) error { return fmt.Errorf("it goes on with %s", text) }, Say: "The sequence %s gives ids twice: %v."},
}

// Check reads every row of a moment that is kept here, and tells what is
// wrong. It changes nothing.
func Check(n tables.Moment, found func(audit.Finding)) error {
	return tables.Check(n, "protection", rules, found)
}
