package tlsrpt

import (
	"fmt"
	"io"
	"strings"

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
