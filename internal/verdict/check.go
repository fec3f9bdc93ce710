package verdict

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/arc"
	"gatepost/internal/dkim"
	"gatepost/internal/dmarc"
	"gatepost/internal/message"
	"gatepost/internal/resolve"
	"gatepost/internal/spf"
)

// checkTime bounds the look-ups of one message. RFC 7208, section 4.6.4 wants
// at least 20 seconds for SPF; the client waits for 10 minutes (RFC 5321,
// section 4.5.3.2.6).
const checkTime = 25 * time.Second

// Checker finds the facts about messages. It may be used from any goroutine.
type Checker struct {
	Resolver resolve.Resolver
	Now      func() time.Time // that signatures are judged by
	// IsOwn reports whether a domain is ours; those below it are too.
	IsOwn func(context.Context, addr.Domain) (bool, error)
	// Trusted are the forwarders whose word on a message counts.
	Trusted []addr.Domain
	// Choices are what the operator wants done with mail by authors of a
	// domain, or of those below it, where nothing shows that it is theirs.
	Choices map[addr.Domain]Action
}

// Everybody is in Choices for all domains without a choice of their own, but
// for ours: who speaks in our name is no matter of what others publish.
const Everybody addr.Domain = "*"

// nullTime bounds the look-up at MAIL, where nothing has arrived yet.
const nullTime = 5 * time.Second

// TakesNoMail reports whether a domain says that it takes no mail at all: RFC
// 7505. What cannot be found out is not held against it.
func (c *Checker) TakesNoMail(ctx context.Context, d addr.Domain) bool {
	if _, literal := d.IP(); literal {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, nullTime)
	defer cancel()
	_, err := resolve.MX(ctx, c.Resolver, string(d))
	return errors.Is(err, resolve.ErrNullMX)
}

// Client is who hands a message over.
type Client struct {
	IP   netip.Addr
	Helo string
	From addr.Address // the reverse-path
}

// Check is the check of one message while it passes. Make it with the header,
// write the body, then call Finish once.
type Check struct {
	c      *Checker
	client Client
	header []byte
	dkim   *dkim.Verifier
	arc    *arc.Verifier
}

// Begin begins a check with the header section as it came, of which it keeps
// a copy: fields that are taken out afterwards may be among those that are
// signed.
func (c *Checker) Begin(client Client, header []byte) *Check {
	client.IP = client.IP.Unmap().WithZone("")
	k := &Check{c: c, client: client, header: slices.Clone(header)}
	k.dkim = dkim.NewVerifier(k.header)
	k.arc = arc.ShareVerifier(k.header, k.dkim.Body())
	return k
}

// Write takes the next octets of the body, in canonical form. It never fails.
func (k *Check) Write(p []byte) (int, error) { return k.dkim.Write(p) }

// Finish ends the body, asks the DNS, and judges. The error is IsOwn's.
func (k *Check) Finish(ctx context.Context) (*Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	f := k.gather(ctx)
	if err := k.compare(ctx, &f); err != nil {
		return nil, err
	}
	return Judge(f), nil
}

// gather asks the DNS, for all but DMARC at once, which needs the others.
func (k *Check) gather(ctx context.Context) Facts {
	f := k.read()
	var group sync.WaitGroup
	group.Go(func() { f.SPF = k.spf(ctx, spf.ForMailFrom(k.client.IP, k.client.Helo, k.client.From)) })
	if !k.client.From.IsNull() { // else it is the greeting that was checked
		group.Go(func() { f.Helo = k.spf(ctx, spf.ForHelo(k.client.IP, k.client.Helo)) })
	}
	if k.client.IP.IsValid() {
		group.Go(func() { f.IPRev = reverse(ctx, k.c.Resolver, k.client.IP) })
	}
	// One after the other, since they share the hash of the body.
	f.DKIM = k.dkim.Verify(ctx, k.c.Resolver, k.c.Now())
	f.ARC = k.arc.Verify(ctx, k.c.Resolver, k.c.Now())
	group.Wait()
	if f.Problem == nil {
		f.DMARC = dmarc.Check(ctx, k.c.Resolver, f.Author.Domain, f.SPF, f.DKIM)
	}
	return f
}

// spf checks one identity. Without an address there is none to check.
func (k *Check) spf(ctx context.Context, q spf.Query) spf.Result {
	if !q.IP.IsValid() {
		return spf.Result{Identity: q.Identity, Domain: q.Domain, Reason: "the client's address is not known"}
	}
	q.Now = k.c.Now()
	return spf.Check(ctx, k.c.Resolver, q)
}

// read finds what the header alone tells.
func (k *Check) read() (f Facts) {
	author, err := dmarc.FindAuthor(k.header)
	if err != nil && !errors.As(err, &f.Problem) {
		f.Problem = &dmarc.AuthorError{Problem: dmarc.MalformedFrom, Cause: err}
	}
	f.Author, f.Nobody = author, true
	for field := range message.Fields(k.header) {
		name := strings.ToLower(field.Name())
		switch {
		case strings.HasPrefix(name, "list-"):
			f.List = true
		case name == "subject": // RFC 8460, section 5.3; RFC 9990, section 3.4.2
			f.Report = f.Report || strings.HasPrefix(strings.TrimSpace(field.Value()), "Report Domain:")
		case name == "sender", name == "reply-to", strings.HasPrefix(name, "resent-"):
			f.Nobody = false
		}
	}
	return f
}

// compare finds what the facts mean to us: which domains are ours, and whom
// we trust.
func (k *Check) compare(ctx context.Context, f *Facts) (err error) {
	if f.Problem != nil {
		return nil
	}
	if f.Own, err = k.c.isOwn(ctx, f.Author.Domain); err != nil {
		return err
	}
	f.Choice = k.c.choice(f.Author.Domain, f.Own)
	for _, d := range f.Author.Shown {
		own, err := k.c.isOwn(ctx, d)
		if err != nil {
			return err
		}
		if own && !f.Own {
			f.ShownOwn = d
		}
	}
	f.Forwarder = k.forwarder(f)
	return nil
}

// choice returns what the operator wants for authors of a domain: the choice
// for it, or for the nearest above it, or for everybody; nil if there is none.
func (c *Checker) choice(d addr.Domain, own bool) *Action {
	for name := range upward(d) {
		if a, ok := c.Choices[name]; ok {
			return &a
		}
	}
	if a, ok := c.Choices[Everybody]; ok && !own {
		return &a
	}
	return nil
}

// isOwn reports whether a domain, or one above it, is ours: who forges
// accounts.example.org means example.org.
func (c *Checker) isOwn(ctx context.Context, d addr.Domain) (bool, error) {
	for name := range upward(d) {
		if own, err := c.IsOwn(ctx, name); own || err != nil {
			return own, err
		}
	}
	return false, nil
}

// upward yields a domain and those above it, but for the top.
func upward(d addr.Domain) iter.Seq[addr.Domain] {
	return func(yield func(addr.Domain) bool) {
		for name, more := string(d), true; more && yield(addr.Domain(name)); {
			_, name, _ = strings.Cut(name, ".")
			more = strings.Contains(name, ".")
		}
	}
}

// forwarder returns the trusted server that found DMARC to pass for the
// author whom the message shows now.
func (k *Check) forwarder(f *Facts) addr.Domain {
	set, ok := f.ARC.Trusted(func(d addr.Domain) bool { return slices.Contains(k.c.Trusted, d) })
	if !ok {
		return ""
	}
	for _, r := range set.Results.Find("dmarc") {
		if r.Value == "pass" && strings.EqualFold(r.Get("header", "from"), string(f.Author.Domain)) {
			return set.Sealer
		}
	}
	return ""
}
