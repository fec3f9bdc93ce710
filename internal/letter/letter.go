// Package letter writes the messages that carry a report of ours to another
// domain: some words for people, and one packed file.
//
// # Place in the path
//
// aggregate and tlsrpt say what is in them, courier hands them to the queue,
// which signs them.
//
// # Standards
//
// RFC 5322, 2045, 2046; RFC 6522 for multipart/report.
//
// # What it trusts
//
// Its caller, for addresses and domains that were parsed: they hold nothing
// that ends a line.
package letter

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/message"
)

// Letter is a message with a file.
type Letter struct {
	From addr.Address
	To   addr.Address
	Host addr.Domain // of its Message-ID
	Date time.Time
	// About is the domain that is told, and Submitter who tells it: both kinds
	// of reports have the same Subject (RFC 8460, section 5.3; RFC 9990,
	// section 3.4.2), with the ID of the report.
	About     string
	Submitter addr.Domain
	ID        string
	Fields    []string // further ones, each without its line end
	Report    string   // the type of a multipart/report; empty makes it multipart/mixed
	Text      []string // lines for people, of US-ASCII
	Type      string   // of the file
	Name      string   // of the file
	Random    io.Reader
}

// Subject returns the value of the field, unfolded.
func (l *Letter) Subject() string {
	return fmt.Sprintf("Report Domain: %s Submitter: %s Report-ID: <%s>", l.About, l.Submitter, l.ID)
}

// Write writes it in canonical form; file writes the file.
func (l *Letter) Write(w io.Writer, file func(io.Writer) error) error {
	var b [16]byte
	if _, err := io.ReadFull(l.Random, b[:]); err != nil {
		return err
	}
	id, err := message.NewMessageID(l.Random, l.Host)
	if err != nil {
		return err
	}
	boundary := fmt.Sprintf("=_%x", b)
	out := bufio.NewWriter(w)
	for _, line := range l.lines(id, boundary) {
		out.WriteString(line + "\r\n")
	}
	breaks := &lineBreaker{out: out}
	encoded := base64.NewEncoder(base64.StdEncoding, breaks)
	if err := errors.Join(file(encoded), encoded.Close()); err != nil {
		return err
	}
	out.WriteString("\r\n--" + boundary + "--\r\n")
	return out.Flush()
}

// lines returns everything before the file.
func (l *Letter) lines(id, boundary string) []string {
	kind := "multipart/mixed"
	if l.Report != "" {
		kind = "multipart/report; report-type=\"" + l.Report + "\""
	}
	lines := []string{
		"From: <" + l.From.String() + ">",
		"To: <" + l.To.String() + ">",
		// Folded, since names may have 253 octets.
		"Subject: " + strings.NewReplacer(" Submitter:", "\r\n Submitter:", " Report-ID:", "\r\n Report-ID:").Replace(l.Subject()),
		"Date: " + message.Date(l.Date),
		"Message-ID: " + id,
		"Auto-Submitted: auto-generated",
	}
	lines = append(lines, l.Fields...)
	lines = append(lines,
		"MIME-Version: 1.0",
		"Content-Type: "+kind+";\r\n boundary=\""+boundary+"\"",
		"",
		"--"+boundary,
		"Content-Type: text/plain; charset=us-ascii",
		"")
	lines = append(lines, l.Text...)
	return append(lines,
		"",
		"--"+boundary,
		"Content-Type: "+l.Type+";\r\n name=\""+l.Name+"\"",
		"Content-Disposition: attachment;\r\n filename=\""+l.Name+"\"",
		"Content-Transfer-Encoding: base64",
		"")
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
