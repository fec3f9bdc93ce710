package courier

import (
	"fmt"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/tables"
	"gatepost/internal/witness"
)

// rules are for what is kept of reports of ours: each row as a name and a text,
// and what the text must be.
var rules = []tables.Rule{
	{Query: `SELECT domain, detail FROM mail_sum`, Wrong: witness.Sound, Say: "What is to be reported to %s cannot be read: %v."},
	{Query: `SELECT domain, domain FROM mail_sum UNION ALL SELECT domain, domain FROM report_out`, Wrong: func(text string) error {
		_, err := addr.ParseDomain(text)
		return err
	}, Say: "%s is to be told, which is no domain: %v."},
	{Query: `SELECT domain, kind FROM report_out`, Wrong: func(text string) error {
		if k := Kind(text); k != TLS && k != DMARC {
			return fmt.Errorf("%q is no kind of report", text)
		}
		return nil
	}, Say: "A report to %s cannot be used: %v."},
	{Query: `SELECT domain, state FROM report_out`, Wrong: func(text string) error {
		switch State(text) {
		case Waiting, Queued, Taken, Failed, Done:
			return nil
		}
		return fmt.Errorf("%q is no state", text)
	}, Say: "What became of a report to %s is not known: %v."},
}

// Check reads every row of a moment that is kept of reports of ours, and
// tells what is wrong. It changes nothing.
func Check(n tables.Moment, found func(audit.Finding)) error {
	return tables.Check(n, "reports", rules, found)
}
