package reputation

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/aggregate"
	"gatepost/internal/arf"
	"gatepost/internal/authres"
	"gatepost/internal/dmarc"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/tlsrpt"
)

// The kinds of reports, as they are kept.
const (
	kindDMARC   = "dmarc"
	kindTLS     = "tls"
	kindFailure = "failure"
)

// tlsReports is the local part of the address for reports on TLS; what comes
// to the other address is on DMARC.
const tlsReports = "tls-reports"

// received is a report as it is counted.
type received struct {
	kind       string
	sender     string
	proven     bool
	org, id    string
	policy     string
	begin, end time.Time
	domain     addr.Domain // the first that it is about
	sums       []sum
}

// sum is what was alike in a report.
type sum struct {
	domain addr.Domain
	detail any // what is kept of it
	rest   any // what is kept of it where there is no room
	number int64
}

// errRefused is why a report is not counted, in plain words.
type errRefused struct{ why string }

func (e errRefused) Error() string { return e.why }

func refuse(format string, args ...any) error { return errRefused{fmt.Sprintf(format, args...)} }

// Read reads the report that a message brings and counts it. It returns nil
// when that is done for good, which it also is when the report is refused:
// that is logged. An error is the store's, or says that ctx ended.
func (b *Book) Read(ctx context.Context, to addr.Address, a *envelope.Attempt) error {
	select {
	case b.reading <- struct{}{}:
		defer func() { <-b.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	sender, proven := b.sender(a)
	r, err := b.read(to, a)
	if err == nil {
		r.sender, r.proven = sender, proven
		err = b.check(ctx, r)
	}
	if err == nil {
		err = b.count(ctx, r)
	}
	var refused errRefused
	if errors.As(err, &refused) {
		b.Refused.Add(1)
		b.o.Log.Warn("a report was refused", "to", to.String(), "from", sender, "message", a.Envelope.ID.String(), "reason", message.Printable(refused.why))
		return nil
	}
	return err
}

// read reads the report for an address; an error is an errRefused.
func (b *Book) read(to addr.Address, a *envelope.Attempt) (*received, error) {
	local, _, _ := strings.Cut(strings.ToLower(to.Local), "+")
	if local == tlsReports {
		r, err := tlsrpt.ReadMessage(a.Body.Reader())
		if err != nil {
			return nil, errRefused{err.Error()}
		}
		return ofTLS(r), nil
	}
	r, err := aggregate.ReadMessage(a.Body.Reader())
	if err == nil {
		return ofDMARC(r), nil
	}
	if !errors.Is(err, aggregate.ErrNoReport) {
		return nil, errRefused{err.Error()}
	}
	f, failed := arf.ReadMessage(a.Body.Reader())
	if errors.Is(failed, arf.ErrNoReport) {
		return nil, errRefused{err.Error()}
	}
	if failed != nil {
		return nil, errRefused{failed.Error()}
	}
	return ofFailure(f, a.Envelope), nil
}

// Mail is what a row of DMARC reports says of messages that were alike.
type Mail struct {
	Source      string `json:"source,omitempty"` // address of who sent them
	From        string `json:"from,omitempty"`   // the author's domain
	Via         string `json:"via,omitempty"`    // a domain that is proved to have sent them, other than that
	DKIM        bool   `json:"dkim"`             // passed, for the author's domain
	SPF         bool   `json:"spf"`
	Disposition string `json:"disposition,omitempty"`
	Override    string `json:"override,omitempty"` // why not what the policy asks for
}

func ofDMARC(r *aggregate.Report) *received {
	domain, _ := addr.ParseDomain(r.Policy.Domain)
	in := &received{kind: kindDMARC, org: r.Organization, id: r.ID, policy: r.Policy.Policy, begin: r.Begin, end: r.End, domain: domain}
	for _, row := range r.Rows {
		m := Mail{
			Source: source(row.IP), From: cut(strings.ToLower(row.From)), Via: via(row),
			DKIM: row.DKIM, SPF: row.SPF, Disposition: cut(row.Disposition),
		}
		if len(row.Overrides) > 0 {
			m.Override = cut(row.Overrides[0].Type)
		}
		in.sums = append(in.sums, sum{domain, m, Mail{DKIM: m.DKIM, SPF: m.SPF}, row.Count})
	}
	return in
}

func source(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.Unmap().WithZone("").String()
}

// via returns who is proved to have sent messages, where it is not their
// author's domain: a service, or a forwarder.
func via(row aggregate.Row) string {
	if row.Passed() {
		return ""
	}
	for _, s := range row.Signatures {
		if s.Result == "pass" {
			return cut(strings.ToLower(s.Domain))
		}
	}
	for _, s := range row.Senders {
		if s.Result == "pass" {
			return cut(strings.ToLower(s.Domain))
		}
	}
	return ""
}

// Sessions is what TLS reports say of sessions that were alike.
type Sessions struct {
	Policy string `json:"policy,omitempty"` // "sts", "tlsa" or "no-policy-found"
	Result string `json:"result,omitempty"` // what failed; empty for success
	Host   string `json:"host,omitempty"`   // of ours, that was to be reached
	Reason string `json:"reason,omitempty"`
}

func ofTLS(r *tlsrpt.Report) *received {
	in := &received{kind: kindTLS, org: r.Organization, id: r.ID, begin: r.Range.Start, end: r.Range.End}
	if in.org == "" {
		in.org = r.Contact
	}
	for _, p := range r.Policies {
		domain, _ := addr.ParseDomain(p.Policy.Domain)
		if in.domain == "" {
			in.domain = domain
		}
		kind := cut(string(p.Policy.Kind))
		unexplained := p.Summary.Failure
		for _, f := range p.Failures {
			s := Sessions{Policy: kind, Result: cut(string(f.Result)), Host: cut(strings.ToLower(f.ReceivingMX)), Reason: cut(f.Reason)}
			in.sums = append(in.sums, sum{domain, s, Sessions{Result: otherFailure}, f.Count})
			unexplained -= f.Count
		}
		in.sums = append(in.sums,
			sum{domain, Sessions{Policy: kind}, Sessions{}, p.Summary.Success},
			sum{domain, Sessions{Policy: kind, Result: otherFailure}, Sessions{Result: otherFailure}, unexplained})
	}
	return in
}

// otherFailure stands for failures of which a report does not say more.
const otherFailure = "failure"

// Failed is what a failure report says of a message.
type Failed struct {
	Source  string `json:"source,omitempty"`
	Failure string `json:"failure,omitempty"` // which proof failed
}

// ofFailure makes a failure report one that counts once: it has no id of its
// own, so the message's stands for it.
func ofFailure(r *arf.Report, e *envelope.Envelope) *received {
	return &received{
		kind: kindFailure, org: r.Agent, id: e.ID.String(), begin: e.Received, end: e.Received, domain: r.Domain,
		sums: []sum{{r.Domain, Failed{source(r.Source), r.Failure}, Failed{}, r.Count}},
	}
}

// check refuses reports that are not about a domain of ours, or not about a
// time that anybody could know of.
func (b *Book) check(ctx context.Context, r *received) error {
	now := b.o.Clock.Now()
	switch {
	case r.id == "":
		return refuse("it has no id, so it could be counted twice")
	case r.end.Before(now.Add(-Life)):
		return refuse("it is of a time too long ago: until %s", r.end.UTC().Format(time.DateOnly))
	case r.begin.After(now.Add(maxAhead)) || r.end.After(now.Add(maxAhead)):
		return refuse("it is of the future")
	case r.end.Before(r.begin):
		return refuse("it ends before it begins")
	case len(r.sums) == 0:
		return refuse("there is nothing in it")
	}
	known := map[addr.Domain]bool{}
	for _, s := range r.sums {
		if known[s.domain] {
			continue
		}
		own, err := b.own(ctx, s.domain)
		if err != nil {
			return err
		}
		if !own {
			return refuse("it is about %q, which is not a domain of ours", s.domain)
		}
		known[s.domain] = true
	}
	return nil
}

// own reports whether a domain is ours, or below one that is: subdomains may
// have policies of their own.
func (b *Book) own(ctx context.Context, d addr.Domain) (bool, error) {
	for name := d; name != ""; {
		if own, err := b.o.IsOwn(ctx, name); own || err != nil {
			return own, err
		}
		_, above, _ := strings.Cut(string(name), ".")
		name = addr.Domain(above)
	}
	return false, nil
}

// maxHeader bounds what is read of a message to find its author.
const maxHeader = 256 << 10

// sender returns the domain that a message is from, and whether that is
// proved.
func (b *Book) sender(a *envelope.Attempt) (domain string, proven bool) {
	e := a.Envelope
	author, err := dmarc.FindAuthor(header(a.Body.Reader()))
	if err != nil {
		return cut(string(e.From.Domain)), false
	}
	return cut(string(author.Domain)), e.Origin == envelope.Self || b.vouched(e, author.Domain)
}

// vouched reports whether we found, when we took a message, that a domain
// stands behind it: by DMARC, or where it has no policy by DKIM or SPF alone.
func (b *Book) vouched(e *envelope.Envelope, author addr.Domain) bool {
	for f := range message.Fields(e.Header) {
		if !f.Is("Authentication-Results") {
			continue
		}
		rs, err := authres.Parse(f.Value())
		if err != nil || !strings.EqualFold(rs.ID, string(b.o.Hostname)) {
			continue
		}
		for _, r := range rs.Results {
			if r.Value != "pass" {
				continue
			}
			mailfrom := r.Get("smtp", "mailfrom")
			switch {
			case r.Method == "dmarc" && strings.EqualFold(r.Get("header", "from"), string(author)),
				r.Method == "dkim" && above(r.Get("header", "d"), author),
				r.Method == "spf" && above(mailfrom[strings.LastIndexByte(mailfrom, '@')+1:], author):
				return true
			}
		}
	}
	return false
}

// above reports whether a domain is another, or that one is below it.
func above(d string, below addr.Domain) bool {
	d = strings.ToLower(d)
	return d == string(below) || strings.Contains(d, ".") && strings.HasSuffix(string(below), "."+d)
}

// header returns the header section that a message begins with.
func header(r io.Reader) []byte {
	in := bufio.NewReader(io.LimitReader(r, maxHeader))
	var h []byte
	for {
		line, err := in.ReadBytes('\n')
		h = append(h, line...)
		if err != nil || len(line) <= len("\r\n") {
			return h
		}
	}
}

// cut makes a text of others one that can be kept and shown.
func cut(s string) string {
	s = message.Printable(s)
	return strings.ToValidUTF8(s[:min(len(s), maxText)], "")
}
