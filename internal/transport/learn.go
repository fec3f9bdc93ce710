package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"

	"gatepost/internal/dane"
	"gatepost/internal/mtasts"
	"gatepost/internal/smtp"
	"gatepost/internal/tlsrpt"
)

// Learn takes note of what came of a host: it was refused, or a connection
// between two addresses was made, with TLS or without. It is to be called
// once for each connection, or refusal. Nothing is learnt of a host that
// could not be connected to.
func (e *Engine) Learn(c *Check, local, remote netip.Addr) {
	if c.domain == "" || !c.seen && c.Refused == nil {
		return
	}
	e.report(c, local, remote)
	e.memorize(c)
}

// memorize remembers what the domain reached. Terms made sure that it is no
// less than before, but where TLSA records say who the host is: there it may
// have given up the authorities that others trust.
func (e *Engine) memorize(c *Check) {
	if c.state == nil {
		return
	}
	r := Reached{Level: Require, At: e.o.Clock.Now()}
	if c.trust == nil {
		r.Level = Verify
	}
	e.mu.Lock()
	had := e.known[c.domain]
	e.mu.Unlock()
	fresh := r.At.Before(had.At.Add(levelLife))
	if fresh && r.Level < had.Level && !c.named() || r.Level == had.Level && r.At.Sub(had.At) < levelGrain {
		return
	}
	e.note(c.domain, r)
	e.o.Memory.Remember(c.domain, r)
}

// report counts the session under each policy that is in force: RFC 8460,
// section 4.
func (e *Engine) report(c *Check, local, remote netip.Addr) {
	count := func(p tlsrpt.Policy, f tlsrpt.Failure) {
		if f.Result != "" {
			f.ReceivingMX = c.host
			f.SendingIP, f.ReceivingIP = text(local), text(remote)
		}
		e.o.Tally.Count(c.domain, p, f)
	}
	for _, ev := range c.events {
		count(ev.policy, ev.result)
	}
	if c.TLSA != nil && c.ours() {
		count(c.tlsaPolicy(), c.tlsaFailure())
	}
	// What the TLSA records alone turned away says nothing of MTA-STS: its
	// owner would look for a fault where there is none.
	if c.sts.Mode != mtasts.None && !(c.listed && c.turnedAway() && c.trust == nil) {
		count(c.stsPolicy(), c.stsFailure())
	}
	if c.TLSA == nil && c.sts.Mode == mtasts.None && c.Refused == nil {
		count(tlsrpt.Policy{Kind: tlsrpt.NoPolicy, Domain: c.domain}, c.chanceFailure())
	}
}

// ours reports whether the host was connected to.
func (c *Check) ours() bool { return c.Refused == nil }

func text(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.Unmap().String()
}

// tlsaPolicy is what the host has published; its domain is the TLSA base
// domain (RFC 8460, section 2).
func (c *Check) tlsaPolicy() tlsrpt.Policy {
	p := tlsrpt.Policy{Kind: tlsrpt.TLSA, Domain: c.TLSA.Base}
	for _, r := range c.TLSA.Published {
		p.Text = append(p.Text, r.String())
	}
	return p
}

// tlsaFailure: records of which none is usable ask for TLS with whoever
// answers (RFC 7672, section 2.2), so a certificate that failed another
// policy is no failure of theirs.
func (c *Check) tlsaFailure() tlsrpt.Failure {
	var judged *tls.CertificateVerificationError
	f := c.tlsFailure()
	if !c.named() && (f.Result == "" || errors.As(c.failed, &judged)) {
		return tlsrpt.Failure{Result: tlsrpt.TLSAInvalid, Reason: "no-usable-record"}
	}
	return f
}

// turnedAway reports whether it was TLSA records that the host did not meet.
func (c *Check) turnedAway() bool {
	return errors.Is(c.failed, dane.ErrNoMatch) || errors.Is(c.failed, dane.ErrAnchor)
}

// stsPolicy is what the domain has promised.
func (c *Check) stsPolicy() tlsrpt.Policy {
	p := tlsrpt.Policy{Kind: tlsrpt.STS, Domain: c.domain, Text: c.sts.Lines()}
	for _, m := range c.sts.MX {
		p.MX = append(p.MX, string(m))
	}
	return p
}

func (c *Check) stsFailure() tlsrpt.Failure {
	if !c.listed {
		return tlsrpt.Failure{Result: tlsrpt.ValidationFailure, Reason: "mx-not-in-policy"}
	}
	if f := c.tlsFailure(); f.Result != "" && !c.turnedAway() {
		return f
	}
	return failure(c.trust)
}

// chanceFailure is for domains that promise nothing: that nobody vouches for
// the certificate is then no failure, unless it was better lately.
func (c *Check) chanceFailure() tlsrpt.Failure {
	f := c.tlsFailure()
	if f.Result != "" && c.Basis == Remembered {
		f.Reason = "below-remembered-level"
	}
	return f
}

// tlsFailure is why there is no TLS; of no result if there is.
func (c *Check) tlsFailure() tlsrpt.Failure {
	switch {
	case c.state != nil:
		return tlsrpt.Failure{}
	case c.failed == nil:
		return tlsrpt.Failure{Result: tlsrpt.NoSTARTTLS}
	}
	return failure(c.failed)
}

// failure is how a report calls an error of the handshake or about a
// certificate: RFC 8460, section 4.3.1.
func failure(err error) tlsrpt.Failure {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var refused *smtp.Reply
	switch {
	case err == nil:
		return tlsrpt.Failure{}
	case errors.As(err, &refused):
		return tlsrpt.Failure{Result: tlsrpt.NoSTARTTLS, Reason: "starttls-refused"}
	case errors.As(err, &name):
		return tlsrpt.Failure{Result: tlsrpt.HostMismatch}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tlsrpt.Failure{Result: tlsrpt.Expired}
	case errors.As(err, &authority):
		return tlsrpt.Failure{Result: tlsrpt.NotTrusted}
	case errors.As(err, &invalid):
		return tlsrpt.Failure{Result: tlsrpt.ValidationFailure, Reason: "certificate-not-valid"}
	case errors.Is(err, dane.ErrNoMatch):
		return tlsrpt.Failure{Result: tlsrpt.ValidationFailure, Reason: "tlsa-mismatch"}
	}
	return tlsrpt.Failure{Result: tlsrpt.ValidationFailure, Reason: "tls-handshake-failure"}
}
