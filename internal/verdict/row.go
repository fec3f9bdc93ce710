package verdict

import (
	"cmp"
	"net/netip"
	"slices"

	"gatepost/internal/addr"
	"gatepost/internal/aggregate"
	"gatepost/internal/dkim"
	"gatepost/internal/dmarc"
	"gatepost/internal/spf"
)

// maxSignatures bounds those that a row names. The best come first: RFC 9990,
// section 3.1.3.
const maxSignatures = 8

// Row returns what an aggregate report (RFC 9990, section 3.1.1) says of the
// message, that came from an address with a reverse-path in a domain, and the
// policy that it is about. ok is false where nothing is to be said: nobody
// wants reports, the message will come again, or it is a report itself, of the
// very author whom it shows: a forger cannot hide behind that. No local part
// and no recipient is in it.
func (v *Verdict) Row(ip netip.Addr, from addr.Domain) (p aggregate.Published, row aggregate.Row, ok bool) {
	f := &v.Facts
	d := &f.DMARC
	if !ip.IsValid() || f.Problem != nil || d.Record == nil || len(d.Record.Aggregate) == 0 || v.Action == Defer || d.Status != dmarc.Pass && d.Status != dmarc.Fail ||
		d.Status == dmarc.Pass && f.Report {
		return p, row, false
	}
	row = aggregate.Row{
		IP: ip.Unmap().WithZone(""), Count: 1, Disposition: v.disposition(), DKIM: d.DKIM, SPF: d.SPF, Overrides: v.overrides(),
		From: string(d.From), EnvelopeFrom: string(from), Signatures: f.signatures(),
	}
	// Only the reverse-path counts: section 3.1.1.13.
	if f.SPF.Identity == spf.MailFrom && f.SPF.Domain != "" {
		row.Senders = []aggregate.Sender{{Domain: f.SPF.Domain, Scope: "mfrom", Result: f.SPF.Status.String()}}
	}
	return published(d), row, true
}

// published returns the policy that was found.
func published(d *dmarc.Result) aggregate.Published {
	mode := func(a dmarc.Alignment) string {
		if a == dmarc.Strict {
			return "s"
		}
		return "r"
	}
	r := d.Record
	return aggregate.Published{
		Domain: string(d.Domain), Policy: r.Policy.String(), Subdomains: r.Subdomains.String(), NonExistent: r.NonExistent.String(),
		DKIM: mode(r.DKIM), SPF: mode(r.SPF), FailureCases: r.FailureCases, Testing: r.Testing, Discovery: "treewalk",
	}
}

// disposition returns what was done with the message for the sake of its
// author's policy.
func (v *Verdict) disposition() string {
	switch {
	case v.Facts.DMARC.Status == dmarc.Pass:
		return "pass"
	case v.Action == Junk:
		return "quarantine"
	case v.Action == Reject:
		return "reject"
	}
	return "none"
}

// overrides says why something else was done than the policy asks for: RFC
// 9990, section 3.1.6.
func (v *Verdict) overrides() []aggregate.Override {
	f := &v.Facts
	d := &f.DMARC
	done := v.disposition()
	if d.Status == dmarc.Pass || done == d.Published.String() {
		return nil
	}
	why := aggregate.Override{Type: "local_policy"}
	switch {
	case f.Forwarder != "":
		why.Type = "trusted_forwarder"
	case f.Choice != nil || f.Own:
	case done == d.Policy.String():
		why.Type = "policy_test_mode"
	case f.List:
		why.Type = "mailing_list"
	default:
		why.Comment = f.hint()
	}
	return []aggregate.Override{why}
}

// signatures returns what is told of the signatures.
func (f *Facts) signatures() (list []aggregate.Signature) {
	rank := func(r *dkim.Result) int {
		switch {
		case r.Status == dkim.Pass && r.Domain == f.Author.Domain:
			return 0
		case r.Status == dkim.Pass:
			return 1
		}
		return 2
	}
	var found []*dkim.Result
	for i := range f.DKIM {
		if r := &f.DKIM[i]; r.Domain != "" && r.Selector != "" {
			found = append(found, r)
		}
	}
	slices.SortStableFunc(found, func(a, b *dkim.Result) int { return cmp.Compare(rank(a), rank(b)) })
	for _, r := range found[:min(len(found), maxSignatures)] {
		list = append(list, aggregate.Signature{Domain: string(r.Domain), Selector: r.Selector, Result: r.Auth().Value})
	}
	return list
}
