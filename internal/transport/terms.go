package transport

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/dane"
	"gatepost/internal/envelope"
	"gatepost/internal/mtasts"
	"gatepost/internal/resolve"
	"gatepost/internal/tlsrpt"
)

// Hop is a host about to be used for a destination.
type Hop struct {
	Domain string // that the mail is for; an address literal has no policies
	Host   string // as MX names it
	Port   uint16
	IPv6   bool // its IPv6 addresses may be used
	// Signed says that DNSSEC vouches for Host being where Domain takes its
	// mail.
	Signed bool
	// RequireTLS says that the message must not go on otherwise: RFC 8689.
	RequireTLS bool
	// Optional says that its sender would rather have the message arrive than
	// protected: RFC 8689, section 4.2.2.
	Optional bool
}

// Basis is what asks for a level.
type Basis string

// The bases. A proof names them.
const (
	Chance     Basis = "none" // nothing does
	Route      Basis = "route"
	DANE       Basis = "DANE"
	STS        Basis = "MTA-STS"
	Remembered Basis = "remembered"
	Requested  Basis = "REQUIRETLS"
	Waived     Basis = "TLS-Required: No"
	Default    Basis = "default" // the operator's
)

// Terms are what a host must offer before a message goes over to it. They do
// not change.
type Terms struct {
	Level Level
	Basis Basis
	// Name is what the host is asked for in TLS, and with Verify what its
	// certificate must be for, unless TLSA says who it is. An address is not
	// asked for by name.
	Name string
	// TLSA is what the host has published, usable or not; nil if nothing.
	TLSA *dane.Set
	// RequireTLS says that the host must offer REQUIRETLS, and that the
	// message fails for good if no host meets the terms (RFC 8689, section
	// 4.2.1).
	RequireTLS bool
	// Refused says why the host must not be used at all.
	Refused *envelope.Error

	domain string // empty for an address literal, of which nothing is known
	host   string
	since  time.Time     // with Remembered: when it was reached
	sts    mtasts.Policy // of the domain, in whatever mode
	listed bool          // sts names the host
	events []event       // what is to be reported, whatever comes of the session
}

// event is a failure that was noticed before the host was asked anything.
type event struct {
	policy tlsrpt.Policy
	result tlsrpt.Failure
}

// RouteTerms returns the terms of a configured route: what the operator
// asked for, and what the message does. The operator vouches for the name.
func RouteTerms(level Level, name string, requireTLS bool) *Terms {
	t := &Terms{Level: level, Basis: Route, Name: name, host: name}
	if requireTLS {
		t.Level, t.Basis, t.RequireTLS = Verify, Requested, true
	}
	return t
}

// Terms returns what a host must offer. It may look things up, which are
// remembered by those who know how long.
func (e *Engine) Terms(ctx context.Context, h Hop) *Terms {
	t := &Terms{Level: Opportunistic, Basis: Chance, Name: h.Host, domain: h.Domain, host: h.Host}
	if ip, literal := addr.Domain(h.Host).IP(); literal {
		t.Name, t.domain = ip.String(), ""
	} else if h.Optional && !h.RequireTLS {
		// Nothing is looked up, and of what was not asked nothing is reported.
		t.Basis, t.domain = Waived, ""
	} else {
		for _, step := range []func(context.Context, *Terms, Hop){e.dane, e.sts, e.remember} {
			if step(ctx, t, h); t.Refused != nil {
				return t
			}
		}
	}
	if floor := Level(e.floor.Load()); floor > t.Level {
		t.Level, t.Basis = floor, Default
	}
	if h.RequireTLS {
		t.request(h)
	}
	return t
}

// named reports whether TLSA records say who the host is.
func (t *Terms) named() bool { return t.TLSA != nil && len(t.TLSA.Records) > 0 }

// later refuses the host for now.
func (t *Terms) later(cause error, enhanced, text string) {
	t.Refused = envelope.Fail(cause, 451, enhanced, text)
}

// dane asks what the host has published: RFC 7672, section 2.2. An MX that is
// not signed could name a host of an attacker's with records of theirs, so
// then nothing is asked.
func (e *Engine) dane(ctx context.Context, t *Terms, h Hop) {
	if !h.Signed {
		return
	}
	set, err := dane.Lookup(ctx, e.o.Resolver, dane.Target{Domain: h.Domain, Host: h.Host, Port: h.Port, IPv6: h.IPv6})
	if err != nil {
		text := "the TLSA records of " + h.Host + " cannot be looked up at the moment, and without them it must not be used"
		if errors.Is(err, resolve.ErrBogus) {
			text = "what the DNS says of the TLSA records of " + h.Host + " is not what its owner signed (DNSSEC)"
		}
		t.events = append(t.events, event{
			tlsrpt.Policy{Kind: tlsrpt.TLSA, Domain: h.Host},
			tlsrpt.Failure{Result: tlsrpt.DNSSECInvalid, ReceivingMX: h.Host, Reason: "tlsa-lookup-failed"},
		})
		t.later(err, "4.4.3", text)
		return
	}
	if t.TLSA = set; set == nil {
		return
	}
	t.Level, t.Basis = Require, DANE
	if t.named() {
		t.Level, t.Name = Verify, set.Base // RFC 7672, section 8.1
	}
}

// sts asks what the domain has promised: RFC 8461, section 5.
func (e *Engine) sts(ctx context.Context, t *Terms, h Hop) {
	status, err := e.o.Policies.Lookup(ctx, h.Domain)
	if err != nil {
		t.later(err, "4.3.0", "what "+h.Domain+" promised (MTA-STS) cannot be read from the disk at the moment")
		return
	}
	t.sts = status.Policy
	if status.Problem != nil {
		t.events = append(t.events, event{
			tlsrpt.Policy{Kind: tlsrpt.STS, Domain: h.Domain},
			tlsrpt.Failure{Result: fetchResult(status.Problem)},
		})
	}
	t.listed = t.sts.Matches(h.Host)
	switch {
	case t.sts.Mode != mtasts.Enforce:
	case !t.listed:
		t.later(nil, "4.7.0", h.Host+" is not among the mail hosts that "+h.Domain+" names in its MTA-STS policy")
	case !t.named():
		t.Level, t.Basis = Verify, STS
	}
}

// fetchResult returns how a report calls the trouble with a policy.
func fetchResult(err error) tlsrpt.Result {
	switch {
	case errors.Is(err, mtasts.ErrCertificate):
		return tlsrpt.STSWebPKIInvalid
	case errors.Is(err, mtasts.ErrPolicy), errors.Is(err, mtasts.ErrRecord):
		return tlsrpt.STSInvalid
	}
	return tlsrpt.STSFetchError
}

// remember asks for the level that the domain reached. Where TLSA records say
// who the host is, that is its owner's word of now.
func (e *Engine) remember(ctx context.Context, t *Terms, h Hop) {
	if t.named() {
		return
	}
	r, err := e.level(ctx, h.Domain)
	if err != nil {
		t.later(err, "4.3.0", "what "+h.Domain+" offered before cannot be read from the disk at the moment")
		return
	}
	if r.Level > t.Level {
		t.Level, t.Basis, t.since = r.Level, Remembered, r.At
	}
}

// request raises the terms to what the message asks for: RFC 8689, section
// 4.2.1. The host's name must come from somebody who can be believed, then
// the host must prove it.
func (t *Terms) request(h Hop) {
	t.RequireTLS, t.Basis, t.Level = true, Requested, Verify
	if !h.Signed && !(t.sts.Mode != mtasts.None && t.listed) {
		t.Refused = envelope.Refuse(550, "5.7.10", "the message asks for protection (REQUIRETLS), and neither DNSSEC nor MTA-STS vouches for the mail hosts of "+h.Domain)
	}
}

// because says why TLS is required.
func (t *Terms) because() string {
	switch t.Basis {
	case DANE:
		return " (DANE for " + t.Name + ")"
	case STS:
		return " (MTA-STS of " + t.domain + ")"
	case Remembered:
		what := "TLS"
		if t.Level == Verify {
			what = "TLS with a verified certificate"
		}
		return " (" + t.domain + " had " + what + " on " + t.since.UTC().Format("2 January 2006") + ")"
	case Requested:
		return " (REQUIRETLS)"
	case Default:
		return " (the default here)"
	}
	return ""
}

// Failure says in public that a host does not meet the terms: why is the rest
// of a sentence that names it. With RequireTLS that is for good.
func (t *Terms) Failure(cause error, why string) *envelope.Error {
	code, enhanced := 451, "4.7.5"
	if cause == nil {
		enhanced = "4.7.4" // nothing failed: it is not offered
	}
	if t.RequireTLS {
		code, enhanced = 550, "5.7.10"
	}
	return envelope.Fail(cause, code, enhanced, "TLS is required"+t.because()+", but "+why)
}

// Key tells terms apart: a connection that met them is as good for a message
// under equal ones, and what is told of it is as true.
func (t *Terms) Key() string {
	var b strings.Builder
	b.WriteString(t.Level.String() + " " + t.policy() + " " + strconv.FormatBool(t.RequireTLS) + " " + t.Name)
	if t.TLSA == nil {
		return b.String()
	}
	for _, r := range t.TLSA.Records {
		b.WriteString(" " + r.String())
		if r.Usage == dane.TA { // another next hop may have other names
			b.WriteString(" " + strings.Join(t.TLSA.Names, ","))
		}
	}
	return b.String()
}

// policy names what asks for protection.
func (t *Terms) policy() string {
	switch {
	case t.Basis == Route:
		return "route (" + t.Level.String() + ")"
	case t.Basis == STS, t.Basis == Chance && t.sts.Mode != mtasts.None:
		return string(STS) + " (" + t.sts.Mode.String() + ")"
	case t.Basis == Remembered, t.Basis == Default:
		return string(t.Basis) + " (" + t.Level.String() + ")"
	}
	return string(t.Basis)
}
