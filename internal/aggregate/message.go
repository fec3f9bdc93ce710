package aggregate

import (
	"bufio"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/message"
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
	var b [16]byte
	if _, err := io.ReadFull(l.Random, b[:]); err != nil {
		return err
	}
	id, err := message.NewMessageID(l.Random, l.Submitter)
	if err != nil {
		return err
	}
	boundary := fmt.Sprintf("=_%x", b)
	name := r.Filename(string(l.Submitter))
	out := bufio.NewWriter(w)
	for _, line := range []string{
		"From: <" + l.From.String() + ">",
		"To: <" + l.To.String() + ">",
		"Subject: " + strings.Replace(r.Subject(string(l.Submitter)), " Submitter:", "\r\n Submitter:", 1),
		"Date: " + message.Date(l.Date),
		"Message-ID: " + id,
		"Auto-Submitted: auto-generated",
		"MIME-Version: 1.0",
		"Content-Type: multipart/mixed; boundary=\"" + boundary + "\"",
		"",
		"--" + boundary,
		"Content-Type: text/plain; charset=us-ascii",
		"",
		"This is a DMARC aggregate report (RFC 9990) on mail in the name of",
		r.Policy.Domain + ", as " + string(l.Submitter) + " received it from",
		r.Begin.UTC().Format(time.RFC3339) + " to " + r.End.UTC().Format(time.RFC3339) + ".",
		"",
		"--" + boundary,
		"Content-Type: application/gzip; name=\"" + name + "\"",
		"Content-Disposition: attachment; filename=\"" + name + "\"",
		"Content-Transfer-Encoding: base64",
		"",
	} {
		out.WriteString(line + "\r\n")
	}
	if err := writePacked(out, r); err != nil {
		return err
	}
	out.WriteString("\r\n--" + boundary + "--\r\n")
	return out.Flush()
}

// writePacked writes a report in gzip and base64.
func writePacked(out io.Writer, r *Report) error {
	lines := &lineBreaker{out: out}
	encoded := base64.NewEncoder(base64.StdEncoding, lines)
	packed := gzip.NewWriter(encoded)
	if err := Write(packed, r); err != nil {
		return err
	}
	return errors.Join(packed.Close(), encoded.Close())
}

// lineBreaker breaks base64 into lines: RFC 2045, section 6.8.
type lineBreaker struct {
	out    io.Writer
	column int
}

func (b *lineBreaker) Write(p []byte) (int, error) {
	const width = 76
	for rest := p; len(rest) > 0; {
		if b.column == width {
			if _, err := io.WriteString(b.out, "\r\n"); err != nil {
				return 0, err
			}
			b.column = 0
		}
		n := min(len(rest), width-b.column)
		if _, err := b.out.Write(rest[:n]); err != nil {
			return 0, err
		}
		b.column += n
		rest = rest[n:]
	}
	return len(p), nil
}
