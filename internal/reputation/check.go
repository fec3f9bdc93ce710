package reputation

import (
	"bytes"
	"encoding/json"
	"fmt"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/tables"
)

// rules are for what is kept here: each row as a name and a text, and what the
// text must be.
var rules = []tables.Rule{
	{Query: `SELECT domain, detail FROM report_sum WHERE kind = '` + kindDMARC + `'`, Wrong: strictly[Mail], Say: "What reports say of mail by %s cannot be read: %v."},
	{Query: `SELECT domain, detail FROM report_sum WHERE kind = '` + kindTLS + `'`, Wrong: strictly[Sessions], Say: "What reports say of TLS with %s cannot be read: %v."},
	{Query: `SELECT domain, detail FROM report_sum WHERE kind = '` + kindFailure + `'`, Wrong: strictly[Failed], Say: "What reports say of a failure of %s cannot be read: %v."},
	{Query: `SELECT domain, kind FROM report_sum UNION ALL SELECT domain, kind FROM report_seen`, Wrong: func(text string) error {
		switch text {
		case kindDMARC, kindTLS, kindFailure:
			return nil
		}
		return fmt.Errorf("%q is no kind of report", text)
	}, Say: "A report on %s cannot be used: %v."},
	{Query: `SELECT sender, domain FROM report_sum UNION ALL SELECT sender, domain FROM report_seen`, Wrong: func(text string) error {
		_, err := addr.ParseDomain(text)
		return err
	}, Say: "A report by %s is about no domain: %v."},
	{Query: `SELECT domain, CAST(number AS TEXT) FROM report_sum WHERE number < 1`, Wrong: func(text string) error {
		return fmt.Errorf("it is %s", text)
	}, Say: "A number in the reports on %s makes no sense: %v."},
}

// strictly reports whether a text is JSON of a type.
func strictly[T any](text string) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	return d.Decode(new(T))
}

// Check reads every row of a moment that is kept here, and tells what is
// wrong. It changes nothing.
func Check(n tables.Moment, found func(audit.Finding)) error {
	return tables.Check(n, "reports", rules, found)
}
