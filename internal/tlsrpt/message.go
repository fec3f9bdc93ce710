package tlsrpt

import (
	"fmt"
	"io"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/letter"
	"gatepost/internal/parts"
)

// maxMessage bounds a message that brings a report, in octets: base64 adds a
// third.
const maxMessage = 2 * MaxReport

// ReadMessage reads the report that a message brings (RFC 8460, section 5.3):
// the first part that is one. The error is what is wrong with the part that
// looks like one.
func ReadMessage(r io.Reader) (*Report, error) {
	var report *Report
	failed := fmt.Errorf("%w: there is none in the message", ErrReport)
	err := parts.Each(r, maxMessage, func(p parts.Part) (more bool) {
		if !looksLikeReport(p) {
			return true
		}
		if read, err := Read(p.Body); err != nil {
			failed = err
		} else {
			report = read
		}
		return report == nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	case report == nil:
		return nil, failed
	}
	return report, nil
}

// looksLikeReport goes by the type, or by the name where the type is general.
func looksLikeReport(p parts.Part) bool {
	switch p.Type {
	case "application/tlsrpt+json", "application/tlsrpt+gzip", "application/json", "application/gzip", "application/x-gzip":
		return true
	}
	return strings.HasSuffix(p.Name, ".json") || strings.HasSuffix(p.Name, ".gz")
}

// Letter is what the message that brings a report needs beside it.
type Letter struct {
	From      addr.Address
	To        addr.Address
	Submitter addr.Domain // who reports
	About     string      // the domain that is told
	Date      time.Time
	Random    io.Reader // for the boundary and the Message-ID
}

// WriteMessage writes the message that brings a report, in canonical form:
// RFC 8460, section 5.3.
func WriteMessage(w io.Writer, r *Report, l Letter) error {
	m := letter.Letter{
		From: l.From, To: l.To, Host: l.From.Domain, Date: l.Date, Random: l.Random,
		About: l.About, Submitter: l.Submitter, ID: r.ID,
		Fields: []string{
			"TLS-Report-Domain: " + l.About,
			"TLS-Report-Submitter: " + string(l.Submitter),
			// RFC 8689, section 3: what tells of a broken TLS must get through
			// on the whole way, as section 5.3.1 wants of our hop.
			"TLS-Required: No",
		},
		Report: "tlsrpt",
		Text: []string{
			"This is a report (RFC 8460) on TLS with the mail hosts of",
			l.About + ",",
			"as " + string(l.Submitter) + " met it from",
			r.Range.Start.UTC().Format(time.RFC3339) + " to " + r.Range.End.UTC().Format(time.RFC3339) + ".",
			"Questions go to " + r.Contact + ".",
		},
		Type: "application/tlsrpt+gzip", Name: r.Filename(string(l.Submitter), l.About),
	}
	return m.Write(w, r.Write)
}

// Filename returns the name that a report has as an attachment: RFC 8460,
// section 5.1.
func (r *Report) Filename(submitter, about string) string {
	return fmt.Sprintf("%s!%s!%d!%d.json.gz", submitter, about, r.Range.Start.Unix(), r.Range.End.Unix())
}
