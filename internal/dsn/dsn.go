// Package dsn writes delivery status notifications: what a sender gets when
// a message failed, is late, arrived or left for where no more is heard of
// it.
//
// # Place in the path
//
// queue asks for a report and submits it as a message of our own, with the
// null reverse-path.
//
// # Standards
//
// RFC 3461 (what is asked for), RFC 6522 (multipart/report), RFC 3464
// (delivery-status), RFC 3463 (status codes), RFC 6533 (addresses beyond
// ASCII), RFC 3834 (automatic replies), RFC 5321, section 4.5.5.
//
// # What it trusts, and its limits
//
// Hostnames, addresses and times, which are typed. What other servers said,
// the original message and its parameters are hostile: texts are cleaned and
// cut, fields are single lines of printable US-ASCII, and the boundary is
// random, so that nothing that was written before the report can end a part
// of it (a forged second part would be believed by whoever reads reports by
// machine). MaxHeader, MaxFull and MaxListed bound what is returned and
// listed; the original streams.
package dsn

import (
	"bufio"
	"bytes"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/message"
	"gatepost/internal/smtp"
)

// Bounds of a report.
const (
	// MaxHeader is how much of the original header is returned, in octets.
	MaxHeader = 256 << 10
	// MaxFull is the largest original that is returned whole where the
	// sender asked for that (RET=FULL): a report should not cost more than
	// it is worth.
	MaxFull = 1 << 20
	// MaxListed is how many recipients the human part tells of; the part
	// for machines has them all.
	MaxListed = 50
	// maxText bounds what one server's reply may take, in octets.
	maxText = 600
)

// Action is what has become of a recipient: RFC 3464, section 2.3.3.
type Action uint8

// The actions that this server takes.
const (
	Failed    Action = iota // given up
	Delayed                 // not yet; it is tried again
	Delivered               // in the mailbox
	Relayed                 // with a server that sends no reports
)

var actionNames = [...]string{"failed", "delayed", "delivered", "relayed"}

func (a Action) String() string { return actionNames[a] }

// Recipient is what is reported of one recipient.
type Recipient struct {
	To     addr.Address
	ORcpt  string // as in envelope.Recipient; may be empty
	Action Action
	// Status is the code of RFC 3463; if empty, that of Reply, or a
	// general one that fits the action.
	Status string
	// Reply is what decided; nil if nobody said anything. Host is the server
	// that said it, empty for our own.
	Reply *smtp.Reply
	Host  string
	// Note tells people what happened where Reply does not: one sentence.
	Note        string
	LastAttempt time.Time // zero: none
	RetryUntil  time.Time // of a delayed one; zero: unknown
}

// Report is one notification. All its recipients have the same action.
type Report struct {
	Hostname   addr.Domain  // ours
	To         addr.Address // the sender of the original
	Date       time.Time    // of the report
	Arrival    time.Time    // when the original came to us
	EnvID      string       // of the original, as xtext; may be empty
	Recipients []Recipient

	// Original is the message, header first. It is returned whole if Full
	// is set, it has Size of at most MaxFull, and the report tells of a
	// failure (RFC 3461, section 6.2: other reports bring the header alone).
	Original io.Reader
	Full     bool
	Size     int64
	EightBit bool // the original's body has octets above 127

	Random io.Reader // for the boundary and the Message-ID
}

// ErrReport says that a report was asked for that cannot be made.
var ErrReport = errors.New("a report needs a sender and recipients with one action")

// Write writes a report as a whole message in canonical form.
func Write(w io.Writer, r Report) error {
	if err := r.check(); err != nil {
		return err
	}
	in := bufio.NewReaderSize(r.Original, 4096)
	header, err := readHeader(in)
	if err != nil {
		return fmt.Errorf("reading the original: %w", err)
	}
	parts := []part{r.human(header), r.status(), r.original(header, in)}
	boundary, id, err := r.names(parts)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 16<<10)
	r.writeHeader(out, header, boundary, id, parts)
	for _, p := range parts {
		fmt.Fprintf(out, "\r\n--%s\r\n", boundary)
		if err := p.write(out); err != nil {
			return fmt.Errorf("reading the original: %w", err)
		}
	}
	fmt.Fprintf(out, "\r\n--%s--\r\n", boundary)
	return out.Flush()
}

func (r *Report) check() error {
	if r.To.IsNull() || len(r.Recipients) == 0 {
		return ErrReport
	}
	for i := range r.Recipients {
		if r.Recipients[i].Action != r.Recipients[0].Action {
			return ErrReport
		}
	}
	return nil
}

// action is that of all recipients.
func (r *Report) action() Action { return r.Recipients[0].Action }

// names returns a boundary and a Message-ID. The boundary has 160 random
// bits that were not known to anybody who wrote a part; that it is in none
// is checked all the same, against a source of randomness that is stuck.
func (r *Report) names(parts []part) (boundary, id string, err error) {
	var b [20]byte
	if _, err := io.ReadFull(r.Random, b[:]); err != nil {
		return "", "", err
	}
	// "=_" is part of no quoted-printable or base64 line.
	boundary = "=_" + base32.StdEncoding.EncodeToString(b[:])
	for _, p := range parts {
		if bytes.Contains(p.content, []byte(boundary)) {
			return "", "", fmt.Errorf("randomness repeats: boundary %s is in the message", boundary)
		}
	}
	id, err = message.NewMessageID(r.Random, r.Hostname)
	return boundary, id, err
}

var subjects = [...]string{
	Failed:    "Your message could not be delivered",
	Delayed:   "Your message is delayed",
	Delivered: "Your message has been delivered",
	Relayed:   "Your message has been handed on",
}

// writeHeader writes the report's own header.
func (r *Report) writeHeader(out io.Writer, original []byte, boundary, id string, parts []part) {
	fmt.Fprintf(out, "From: Mail Delivery System <MAILER-DAEMON@%s>\r\n", r.Hostname)
	fmt.Fprintf(out, "To: <%s>\r\n", r.To)
	fmt.Fprintf(out, "Subject: %s\r\n", subjects[r.action()])
	fmt.Fprintf(out, "Date: %s\r\n", message.Date(r.Date))
	fmt.Fprintf(out, "Message-ID: %s\r\n", id)
	if about := messageID(original); about != "" { // RFC 3834, section 3.1.5
		fmt.Fprintf(out, "In-Reply-To: %s\r\nReferences: %s\r\n", about, about)
	}
	fmt.Fprint(out, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n")
	fmt.Fprintf(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n", boundary)
	for _, p := range parts {
		if p.encoding == "8bit" {
			fmt.Fprint(out, "Content-Transfer-Encoding: 8bit\r\n")
			break
		}
	}
	fmt.Fprint(out, "\r\nThis is a delivery report in MIME format (RFC 6522).\r\n")
}

// part is one of the three parts of a report.
type part struct {
	mediaType   string
	description string
	encoding    string // empty for 7bit
	content     []byte
	rest        io.Reader // what follows content; may be nil
}

func (p *part) write(out io.Writer) error {
	fmt.Fprintf(out, "Content-Description: %s\r\nContent-Type: %s\r\n", p.description, p.mediaType)
	if p.encoding != "" {
		fmt.Fprintf(out, "Content-Transfer-Encoding: %s\r\n", p.encoding)
	}
	fmt.Fprint(out, "\r\n")
	out.Write(p.content) // errors stay in the bufio.Writer
	if p.rest == nil {
		return nil
	}
	_, err := io.Copy(out, p.rest)
	return err
}
