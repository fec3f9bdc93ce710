package audit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"gatepost/internal/dmarc"
	"gatepost/internal/resolve"
	"gatepost/internal/spf"
	"gatepost/internal/tlsrpt"
)

// Compare asks the DNS for each record and says which are missing or do
// another thing than they should. What is written otherwise and does the same
// is right.
func Compare(ctx context.Context, r resolve.Resolver, list []Record) []Finding {
	var out []Finding
	for _, rec := range list {
		out = append(out, compare(ctx, r, rec))
	}
	return out
}

// Plan returns the records to publish: those that are missing, and those of
// ours alone that are old. What exists and is wrong may serve somebody else,
// and is left to the operator, with what was found.
func Plan(ctx context.Context, r resolve.Resolver, list []Record) (publish []Record, left []Finding) {
	for _, rec := range list {
		q := &question{ctx: ctx, r: r, want: rec}
		f := q.look()
		switch {
		case q.gap || len(q.old) > 0:
			rec.Old = q.old
			publish = append(publish, rec)
		case f.Level != OK:
			left = append(left, f)
		}
	}
	return publish, left
}

// question is one record that was asked for, with the answer.
type question struct {
	ctx   context.Context
	r     resolve.Resolver
	want  Record
	found []string // the values of those that compete with it, as in a zone file
	texts []string // those of TXT records, as octets
	gap   bool     // it can be published without taking anything away
	old   []string // values of ours that nobody needs any more
}

// judges look at records that differ from what we print; the others must be
// as printed.
var judges = map[Kind]func(*question) Finding{
	KindMX: (*question).mx, KindSPF: (*question).spf, KindDKIM: (*question).dkim, KindDMARC: (*question).dmarc, KindTLSRPT: (*question).tlsrpt,
	KindMTASTS: (*question).mtasts,
}

func compare(ctx context.Context, r resolve.Resolver, want Record) Finding {
	return (&question{ctx: ctx, r: r, want: want}).look()
}

func (q *question) look() Finding {
	want := q.want
	switch want.Kind {
	case KindPolicy:
		return q.alias()
	case KindTLSA:
		return q.tlsa()
	}
	answer, err := q.r.Lookup(q.ctx, want.Name, dns.StringToType[want.Type])
	if err != nil && !errors.Is(err, resolve.ErrNotFound) {
		return q.warning("Nobody could say what "+q.what()+" is: "+err.Error()+".",
			"Try again later; if it stays so, look at the name servers of the domain.")
	}
	q.read(answer.RRs)
	switch {
	case len(q.found) == 0:
		return q.missing()
	case want.Type == "TXT" && len(q.found) > 1:
		// RFC 7208, section 4.5, RFC 9989, section 4.10, RFC 8460, section 3:
		// of several none counts.
		return q.failure(fmt.Sprintf("%s has %d %s records, which makes all of them void.", want.Name, len(q.found), q.name()),
			"Keep only one: "+want.Line())
	case want.Kind != KindDKIM && slices.Contains(q.found, normal(want.Value)) && (len(q.found) == 1 || want.Value != nullMX):
		return q.ok(capital(q.what()) + " is right.")
	}
	if judge := judges[want.Kind]; judge != nil {
		return judge(q)
	}
	return q.differs()
}

// nullMX is the value of a record that must stand alone.
const nullMX = "0 ."

// read takes the records that compete with the one wanted: of TXT only those
// of its kind.
func (q *question) read(rrs []dns.RR) {
	prefix, _, _ := strings.Cut(strings.Trim(normal(q.want.Value), `"`), " ")
	for _, rr := range rrs {
		data := normal(strings.TrimPrefix(rr.String(), rr.Header().String()))
		if q.want.Type == "TXT" {
			txt, ok := rr.(*dns.TXT)
			if !ok {
				continue
			}
			whole := strings.Join(txt.Txt, "")
			data = normal(`"` + whole + `"`)
			if !strings.HasPrefix(data, `"`+strings.TrimSuffix(prefix, ";")) {
				continue
			}
			q.texts = append(q.texts, whole)
		}
		q.found = append(q.found, data)
	}
}

// name says what kind of record it is, as people call it.
func (q *question) name() string {
	switch q.want.Kind {
	case KindSPF:
		return "SPF"
	case KindDKIM:
		return "DKIM"
	case KindDMARC:
		return "DMARC"
	case KindTLSRPT:
		return "TLS-RPT"
	case KindMTASTS:
		return "MTA-STS"
	case KindTLSA:
		return "TLSA"
	}
	return q.want.Type
}

func (q *question) what() string { return fmt.Sprintf("the %s record of %s", q.name(), q.want.Name) }

func (q *question) check() string { return "dns." + string(q.want.Kind) }

func (q *question) publish() string { return "Publish: " + q.want.Line() }

func (q *question) ok(text string) Finding           { return ok(q.check(), text) }
func (q *question) warning(text, fix string) Finding { return warning(q.check(), text, fix) }
func (q *question) failure(text, fix string) Finding { return failure(q.check(), text, fix) }

// is says what was found.
func (q *question) is() string {
	return fmt.Sprintf("%s is %s", capital(q.what()), strings.Join(q.found, ", "))
}

// missing is the finding about a record that is not there. Without an MX, an
// address or SPF mail is lost or distrusted; without the others it is only
// worse off.
func (q *question) missing() Finding {
	q.gap = true
	level := Warning
	switch q.want.Kind {
	case KindMX, KindAddress, KindSPF:
		level = Failure
	}
	return Finding{q.check(), level, capital(q.what()) + " is missing. " + q.want.Why, q.publish()}
}

// differs is the finding about a record that is another one.
func (q *question) differs() Finding {
	if q.want.Kind == KindAddress {
		return q.failure(fmt.Sprintf("%s, not %s. %s", q.is(), q.want.Value, q.want.Why), q.publish())
	}
	return q.warning(q.is()+".", "Unless you know better, publish: "+q.want.Line())
}

// mx looks for this server among those that take mail.
func (q *question) mx() Finding {
	_, host, _ := strings.Cut(normal(q.want.Value), " ")
	if q.want.Value == nullMX {
		return q.failure(q.is()+", although nobody has an address there.", "Remove it, and publish: "+q.want.Line())
	}
	for _, found := range q.found {
		if _, other, _ := strings.Cut(found, " "); other == host {
			return q.ok(capital(q.what()) + " names this server.")
		}
	}
	return q.failure(fmt.Sprintf("%s, not %s. %s", q.is(), q.want.Value, q.want.Why), q.publish())
}

// dkim compares keys octet by octet: they may be cut into other strings, but
// in theirs upper and lower case differ.
func (q *question) dkim() Finding {
	if slices.Contains(q.texts, q.want.text) {
		return q.ok(capital(q.what()) + " is right.")
	}
	return q.warning(capital(q.what())+" is another key; mail is not signed until it is ours.", "Publish in its place: "+q.want.Line())
}

// nobody is an address that no server has (RFC 5737).
var nobody = netip.MustParseAddr("203.0.113.255")

// spf asks what the record does: it must let the addresses of this server
// send, and not everybody.
func (q *question) spf() Finding {
	if q.want.Value == Quote("v=spf1 -all") {
		return q.failure(q.is()+", although no server sends mail of this domain.", "Publish in its place: "+q.want.Line())
	}
	may := func(ip netip.Addr) spf.Status {
		return spf.Check(q.ctx, q.r, spf.Query{IP: ip, Domain: q.want.Name, Helo: q.want.Name}).Status
	}
	if may(nobody) == spf.Pass {
		return q.failure(q.is()+", which lets everybody send mail of this domain.", "Publish in its place: "+q.want.Line())
	}
	ips, err := resolve.Addrs(q.ctx, q.r, q.want.server, true)
	if err != nil {
		return q.warning(fmt.Sprintf("%s; whether it lets this server send, nobody could say: %v.", q.is(), err), "Publish the addresses of "+q.want.server+" first.")
	}
	for _, ip := range ips {
		switch may(ip) {
		case spf.Pass:
		case spf.TempError:
			return q.warning(q.is()+", and one of the records that it leads to does not answer.", "Try again later; if it stays so, look at the name servers that it leads to.")
		case spf.PermError:
			return q.failure(q.is()+", which is not valid, and void.", "Publish in its place: "+q.want.Line())
		default:
			return q.failure(fmt.Sprintf("%s, which does not let this server (%s) send.", q.is(), ip), "Add mx before its last term, or publish in its place: "+q.want.Line())
		}
	}
	return q.ok(capital(q.what()) + " lets this server send.")
}

// dmarc looks at what the record asks for and whether we hear of it.
func (q *question) dmarc() Finding {
	r, err := dmarc.ParseRecord(q.texts[0])
	wanted, bad := dmarc.ParseRecord(strings.Trim(q.want.Value, `"`))
	switch {
	case err != nil || bad != nil || r.Invalid:
		return q.failure(q.is()+", which is not valid, and void.", "Publish in its place: "+q.want.Line())
	case r.Policy < wanted.Policy:
		return q.warning(fmt.Sprintf("%s: mail that is forged in the name of a domain without mail is not refused.", q.is()), "Publish in its place: "+q.want.Line())
	case len(wanted.Aggregate) == 0:
		return q.ok(fmt.Sprintf("%s asks for p=%s.", capital(q.what()), r.Policy))
	case !slices.ContainsFunc(r.Aggregate, func(uri string) bool { return sameMailbox(uri, wanted.Aggregate[0]) }):
		return q.warning(q.is()+": reports do not come to this server, and gatepost reports dmarc cannot tell who sends in your name.",
			"Add to its rua=: "+wanted.Aggregate[0])
	}
	return q.ok(fmt.Sprintf("%s asks for p=%s and sends the reports here.", capital(q.what()), r.Policy))
}

// sameMailbox reports whether two mailto: URIs are of one address.
func sameMailbox(a, b string) bool {
	x, ok := dmarc.Mailto(a)
	y, too := dmarc.Mailto(b)
	return ok && too && x == y
}

func (q *question) tlsrpt() Finding {
	r, err := tlsrpt.ParseRecord(q.texts[0])
	wanted, bad := tlsrpt.ParseRecord(strings.Trim(q.want.Value, `"`))
	if err != nil || bad != nil {
		return q.warning(q.is()+", which is not valid, and void.", "Publish in its place: "+q.want.Line())
	}
	to := wanted.RUA[0].Mail
	if !slices.ContainsFunc(r.RUA, func(d tlsrpt.Destination) bool { return d.Mail == to }) {
		return q.warning(q.is()+": reports do not come to this server.", "Add to its rua=: mailto:"+to.String())
	}
	return q.ok(capital(q.what()) + " sends the reports here.")
}

// mtasts: an old id is all that it can be.
func (q *question) mtasts() Finding {
	q.gap = true
	return q.warning(q.is()+": others go on with the policy that they know.", "Publish in its place: "+q.want.Line())
}

// alias looks whether a name leads to this server, by a CNAME or by addresses
// of its own.
func (q *question) alias() Finding {
	host := strings.TrimSuffix(q.want.Value, ".")
	mine, err := resolve.Addrs(q.ctx, q.r, host, true)
	if err == nil {
		var found []netip.Addr
		found, err = resolve.Addrs(q.ctx, q.r, q.want.Name, true)
		switch {
		case errors.Is(err, resolve.ErrNotFound):
			return q.missing()
		case err == nil && !slices.ContainsFunc(found, func(ip netip.Addr) bool { return slices.Contains(mine, ip) }):
			return q.warning(fmt.Sprintf("%s is at %s, where this server is not. %s", q.want.Name, join(found), q.want.Why), q.publish())
		}
	}
	if err != nil {
		return q.warning("Nobody could say where "+q.want.Name+" leads to: "+err.Error()+".", "Publish the addresses of "+host+" first, or try again later.")
	}
	return q.ok(q.want.Name + " leads to this server.")
}

func normal(value string) string { return strings.ToLower(strings.Join(strings.Fields(value), " ")) }

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
