// Package tlsrpt speaks SMTP TLS Reporting (RFC 8460): how a domain asks to
// be told of failures to reach it safely, and what it is told.
//
// # Place in the path
//
// A standard: pure, with no disk. transport hands each session to a Tally,
// which adds them up for a day; a report is composed of the sums once the day
// is over. Reports of others about our own domains are read with Read.
//
// # What it trusts
//
// Nothing. A report comes by mail or HTTPS from whoever likes to send one:
// its size is bounded before and after decompression, its lists are, and what
// it says is text by somebody else, to be escaped by whoever shows it.
//
// # Limits
//
// A report that is read has at most MaxReport octets, maxResults policies and
// maxFailures failures; a Tally holds maxPending different sums.
package tlsrpt

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

// Record is what a domain publishes in the TXT record at _smtp._tls: where it
// wants to be told (RFC 8460, section 3).
type Record struct{ RUA []Destination }

// Destination is one address for reports: Mail, or else URL.
type Destination struct {
	Mail addr.Address
	URL  string // https
}

// Errors of LookupRecord, beside those of resolve.
var (
	// ErrNoRecord: the domain does not ask for reports.
	ErrNoRecord = errors.New("no TLS reporting record")
	// ErrRecord: it has a record that cannot be read, or several, which is
	// none (RFC 8460, section 3).
	ErrRecord = errors.New("not a valid TLS reporting record")
)

const recordVersion = "v=TLSRPTv1"

// Bounds of a record.
const (
	maxRecord       = 4096 // octets
	maxDestinations = 10
)

// RecordName returns where the record of a domain is.
func RecordName(domain string) string { return "_smtp._tls." + domain }

// LookupRecord asks for the record of a domain.
func LookupRecord(ctx context.Context, r resolve.Resolver, domain string) (Record, error) {
	texts, err := resolve.TXT(ctx, r, RecordName(domain))
	if errors.Is(err, resolve.ErrNotFound) {
		return Record{}, ErrNoRecord
	}
	if err != nil {
		return Record{}, err
	}
	texts = slices.DeleteFunc(texts, func(t string) bool { return !strings.HasPrefix(t, recordVersion+";") })
	switch len(texts) {
	case 0:
		return Record{}, ErrNoRecord
	case 1:
		return ParseRecord(texts[0])
	}
	return Record{}, ErrRecord
}

// ParseRecord reads the text of a record. Destinations of kinds that we do
// not know are left out; there must be one that we do.
func ParseRecord(s string) (Record, error) {
	fields := strings.Split(s, ";")
	if len(s) > maxRecord || strings.TrimRight(fields[0], " \t") != recordVersion {
		return Record{}, ErrRecord
	}
	var r Record
	seen := false
	for i, f := range fields[1:] {
		f = strings.Trim(f, " \t")
		if f == "" && i == len(fields)-2 {
			break // a delimiter may end the record
		}
		name, value, ok := strings.Cut(f, "=")
		switch {
		case !ok || !isName(name) || value == "" || !printable(value):
			return Record{}, ErrRecord
		case name == "rua" && seen:
			return Record{}, ErrRecord
		case name == "rua":
			seen = true
			if r.RUA, ok = destinations(value); !ok {
				return Record{}, ErrRecord
			}
		}
	}
	if len(r.RUA) == 0 {
		return Record{}, ErrRecord
	}
	return r, nil
}

// isName reports whether s is the name of a field: RFC 8460, section 3.
func isName(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alnum && (i == 0 || strings.IndexByte("_-.", c) < 0) {
			return false
		}
	}
	return true
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' && s[i] != '\t' || s[i] > '~' {
			return false
		}
	}
	return true
}

// destinations reads the value of rua; ok is false when one of them is of a
// kind that we know and cannot be read.
func destinations(s string) (list []Destination, ok bool) {
	for text := range strings.SplitSeq(s, ",") {
		u, err := url.Parse(strings.Trim(text, " \t"))
		if err != nil || u.Scheme == "" {
			return nil, false
		}
		var d Destination
		switch u.Scheme {
		case "mailto":
			d.Mail, err = mailbox(u)
		case "https":
			// Whoever reads it has no use for a password in it, or for what
			// follows a #.
			if _, err := addr.ParseDomain(u.Hostname()); err != nil || u.User != nil {
				return nil, false
			}
			u.Fragment = ""
			d.URL = escape(u.String())
		default:
			continue
		}
		if err != nil {
			return nil, false
		}
		if len(list) < maxDestinations {
			list = append(list, d)
		}
	}
	return list, true
}

// mailbox returns the address of a mailto URI; what it asks of the message
// (RFC 6068: a subject, say) is not for others to say.
func mailbox(u *url.URL) (addr.Address, error) {
	plain, err := url.PathUnescape(u.Opaque)
	if err != nil {
		return addr.Address{}, err
	}
	return addr.Parse(plain)
}

// String returns the record as it is published.
func (r Record) String() string {
	var list []string
	for _, d := range r.RUA {
		text := d.URL
		if text == "" {
			text = "mailto:" + escape(url.PathEscape(d.Mail.String()))
		}
		list = append(list, text)
	}
	return recordVersion + "; rua=" + strings.Join(list, ",")
}

// escape encodes what would end a URI in a record: RFC 8460, section 3.
func escape(uri string) string {
	return strings.NewReplacer("!", "%21", ",", "%2C", ";", "%3B").Replace(uri)
}
