package dsn

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"gatepost/internal/message"
)

// maxSubject is how much of the original's subject is shown, in octets.
const maxSubject = 200

// human makes the first part: what happened, what it means and what to do,
// for people who know nothing of mail servers.
func (r *Report) human(header []byte) part {
	var b bytes.Buffer
	paragraph(&b, "", fmt.Sprintf("This is the mail server %s. %s", r.Hostname, r.opening()))
	b.WriteString("\r\n")
	if f, ok := message.Find(header, "Subject"); ok {
		paragraph(&b, "    ", "Subject: "+cut(message.Decode(f.Value()), maxSubject))
	}
	if !r.Arrival.IsZero() {
		paragraph(&b, "    ", "Sent: "+people(r.Arrival))
	}
	for i := range r.Recipients[:min(len(r.Recipients), MaxListed)] {
		b.WriteString("\r\n")
		r.Recipients[i].human(&b)
	}
	if more := len(r.Recipients) - MaxListed; more > 0 {
		b.WriteString("\r\n")
		paragraph(&b, "", fmt.Sprintf("And %d more recipients, who are named in the attached report.", more))
	}
	b.WriteString("\r\n")
	paragraph(&b, "", r.closing(r.returnsAll(header)))
	p := part{description: "Explanation", mediaType: "text/plain; charset=utf-8", content: b.Bytes()}
	if !isASCII(p.content) {
		p.encoding = "8bit"
	}
	return p
}

// opening says what happened to the message.
func (r *Report) opening() string {
	switch r.action() {
	case Failed:
		return "It could not deliver your message to the recipients named below, and has given up."
	case Delayed:
		return "It has not been able to deliver your message to the recipients named below yet. It goes on trying. You need not send it again."
	case Delivered:
		return "You asked to be told: your message is now in the mailboxes of the recipients named below."
	}
	return "You asked to be told: your message was handed to the servers of the recipients named below. These do not report further, so this is the last that you hear from here."
}

// closing says what is attached.
func (r *Report) closing(whole bool) string {
	s := "A report for programs and the header of your message are attached."
	if whole {
		s = "A report for programs and your message are attached."
	}
	if r.action() == Delayed {
		s = "You will be told if it fails for good. " + s
	}
	return s
}

// human tells of one recipient.
func (r *Recipient) human(b *bytes.Buffer) {
	paragraph(b, "", "<"+r.To.Unicode()+">")
	if r.Action == Delivered || r.Action == Relayed {
		if r.Host != "" {
			paragraph(b, "    ", "Taken by "+message.Printable(r.Host)+".")
		}
		return
	}
	if r.Note != "" {
		paragraph(b, "    ", message.Printable(r.Note))
	}
	if r.Reply != nil {
		meaning, advice := Explain(r.Reply)
		if r.Action == Failed && r.Reply.Temporary() { // nothing will pass by itself any more
			advice = tryLater
		}
		paragraph(b, "    ", meaning+" "+advice)
		speaker := "This server's own words"
		if r.Host != "" {
			speaker = "The words of " + message.Printable(r.Host)
		}
		paragraph(b, "    ", speaker+":")
		paragraph(b, "        ", cut(message.Printable(r.Reply.Error()), maxText))
	}
	if !r.RetryUntil.IsZero() {
		paragraph(b, "    ", "It is tried until "+people(r.RetryUntil)+".")
	}
}

// people writes a time as people read it.
func people(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// paragraph writes text in lines of about 72 octets, each behind indent. Of
// a word that is longer than that, no more than maxText is kept, so that no
// line exceeds what mail allows.
func paragraph(b *bytes.Buffer, indent, text string) {
	line := indent
	for _, word := range strings.Fields(text) {
		if len(line)+1+len(word) > 72 && line != indent {
			b.WriteString(line + "\r\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += cut(word, maxText)
	}
	b.WriteString(line + "\r\n")
}
