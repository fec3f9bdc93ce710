package aggregate

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/letter"
	"gatepost/internal/parts"
)

// ReadMessage reads the report that a message brings: the first part that is
// one. The error is ErrNoReport if none looks like one, else what is wrong
// with the one that does.
func ReadMessage(r io.Reader) (*Report, error) {
	var report *Report
	failed := ErrNoReport
	err := parts.Each(r, 2*MaxPacked, func(p parts.Part) (more bool) {
		if !looksLikeReport(p.Type, p.Name) {
			return true
		}
		read, err := ReadFile(p.Body)
		switch {
		case err == nil:
			report = read
		case !errors.Is(err, ErrNoReport):
			failed = err
		}
		return err != nil
	})
	switch {
	case errors.Is(err, parts.ErrTooLarge):
		return nil, ErrTooLarge
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNoReport, err)
	case report == nil:
		return nil, failed
	}
	return report, nil
}

func looksLikeReport(mediaType, name string) bool {
	switch mediaType {
	case "application/gzip", "application/x-gzip", "application/zip", "application/x-zip-compressed", "application/xml", "text/xml":
		return true
	}
	for _, end := range []string{".xml", ".gz", ".gzip", ".zip"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// Letter is what the message that brings a report needs beside it.
type Letter struct {
	From      addr.Address
	To        addr.Address
	Submitter addr.Domain // who reports
	Date      time.Time
	Random    io.Reader // for the boundary and the Message-ID
}

// WriteMessage writes the message that brings a report, in canonical form:
// RFC 9990, section 3.4.2.
func WriteMessage(w io.Writer, r *Report, l Letter) error {
	m := letter.Letter{
		From: l.From, To: l.To, Host: l.From.Domain, Date: l.Date, Random: l.Random,
		About: r.Policy.Domain, Submitter: l.Submitter, ID: r.ID,
		Text: []string{
			"This is a DMARC aggregate report (RFC 9990) on mail in the name of",
			r.Policy.Domain + ",",
			"as " + string(l.Submitter) + " received it from",
			r.Begin.UTC().Format(time.RFC3339) + " to " + r.End.UTC().Format(time.RFC3339) + ".",
			"Questions go to " + r.Email + ".",
		},
		Type: "application/gzip", Name: r.Filename(string(l.Submitter)),
	}
	return m.Write(w, func(out io.Writer) error {
		packed := gzip.NewWriter(out)
		if err := Write(packed, r); err != nil {
			return err
		}
		return packed.Close()
	})
}
