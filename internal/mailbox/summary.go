package mailbox

import (
	"io"
	"time"
	"unicode/utf8"

	"gatepost/internal/envelope"
	"gatepost/internal/message"
)

// Bounds of what lists show.
const (
	summaryBound = 64 << 10 // octets of a header that are looked at
	maxText      = 255      // octets of a subject or sender that are kept
)

// Message is a message as lists show it.
type Message struct {
	ID      int64     `json:"id"`  // never given to another message
	UID     uint32    `json:"uid"` // in its folder
	Subject string    `json:"subject"`
	From    string    `json:"from"`
	Date    time.Time `json:"date"` // when it was written, or arrived if it does not say so
	Size    int64     `json:"size"` // octets, header fields of ours included
	Flags   Flags     `json:"flags"`
}

// summarize returns what lists will show of f.
func summarize(f Filing) (Message, error) {
	header, err := readHeader(f.Body)
	if err != nil {
		return Message{}, err
	}
	m := Message{Size: int64(len(f.Header)) + f.Body.Size(), Flags: f.Flags, Date: f.Date}
	subject, from, date := "", "", ""
	for field := range message.Fields(header) {
		// The first of each counts, as in most readers.
		switch {
		case subject == "" && field.Is("Subject"):
			subject = field.Value()
		case from == "" && field.Is("From"):
			from = field.Value()
		case date == "" && field.Is("Date"):
			date = field.Value()
		}
	}
	m.Subject, m.From = cut(message.Decode(subject)), cut(message.Decode(from))
	// A zone can push a date out of the years that JSON can write: one such
	// message would make a whole folder unreadable.
	if sent, err := message.ParseDate(date); err == nil && sent.UTC().Year() >= 1970 && sent.UTC().Year() <= 9999 {
		m.Date = sent
	}
	m.Date = m.Date.UTC().Truncate(time.Second)
	return m, nil
}

// readHeader returns the beginning of a body, as far as its header is looked
// for there.
func readHeader(body *envelope.Body) ([]byte, error) {
	n := min(body.Size(), summaryBound)
	if mem := body.Bytes(); mem != nil {
		return mem[:n], nil
	}
	p := make([]byte, n)
	_, err := io.ReadFull(body.Reader(), p)
	return p, err
}

// cut shortens text to maxText octets without splitting a character.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	n := maxText
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
