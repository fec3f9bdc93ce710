package dane

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// TestVerify: what is published, what is presented, and what comes of it.
func TestVerify(t *testing.T) {
	t.Parallel()
	root := issue(t, nil, ecKey(t), "root")
	middle := issue(t, root, ecKey(t), "middle")
	leaf := issue(t, middle, ecKey(t), "leaf", names("mx.example"))
	other := issue(t, middle, ecKey(t), "other", names("mx.other.example"))
	nextHop := issue(t, middle, ecKey(t), "next hop", names("d.example"))
	wild := issue(t, middle, ecKey(t), "wild", names("*.example"))
	nameless := issue(t, middle, ecKey(t), "mx.example", names())
	old := issue(t, middle, ecKey(t), "old", names("mx.example"), life(-2*time.Hour, -time.Hour))
	early := issue(t, middle, ecKey(t), "early", names("mx.example"), life(time.Hour, 2*time.Hour))
	self := issue(t, nil, ecKey(t), "self", names("mx.example"))
	oldMiddle := issue(t, root, ecKey(t), "old middle", life(-2*time.Hour, -time.Hour))
	underOld := issue(t, oldMiddle, ecKey(t), "leaf", names("mx.example"))
	noCA := issue(t, middle, ecKey(t), "no CA", names("mx.example"))
	underNoCA := issue(t, noCA, ecKey(t), "leaf", names("mx.example"))
	client := issue(t, middle, ecKey(t), "client", names("mx.example"), func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	// Another authority that calls itself the same.
	falseMiddle := issue(t, root, ecKey(t), "middle")
	underFalse := issue(t, falseMiddle, ecKey(t), "leaf", names("mx.example"))
	rsaRoot := issue(t, nil, rsaKey(t), "rsa")
	rsaLeaf := issue(t, rsaRoot, rsaKey(t), "leaf", names("mx.example"))
	edRoot := issue(t, nil, edKey(t), "ed")
	edLeaf := issue(t, edRoot, edKey(t), "leaf", names("mx.example"))

	const mismatch, anchor, unusable = "no TLSA record matches what the host presents", "the authority that the TLSA records name does not vouch for the host", "no TLSA record is usable"
	cases := []struct {
		name    string
		records []Record
		chain   []*x509.Certificate
		want    string // the record, by usage, selector and matching, or the error
	}{
		{"3 0 0", []Record{tlsa(EE, Cert, Full, leaf.Certificate)}, chain(leaf, middle), "3 0 0"},
		{"3 0 1", []Record{tlsa(EE, Cert, SHA256, leaf.Certificate)}, chain(leaf, middle), "3 0 1"},
		{"3 0 2", []Record{tlsa(EE, Cert, SHA512, leaf.Certificate)}, chain(leaf, middle), "3 0 2"},
		{"3 1 0", []Record{tlsa(EE, SPKI, Full, leaf.Certificate)}, chain(leaf, middle), "3 1 0"},
		{"3 1 1", []Record{tlsa(EE, SPKI, SHA256, leaf.Certificate)}, chain(leaf, middle), "3 1 1"},
		{"3 1 2", []Record{tlsa(EE, SPKI, SHA512, leaf.Certificate)}, chain(leaf, middle), "3 1 2"},
		{"EE ignores the name", []Record{tlsa(EE, SPKI, SHA256, other.Certificate)}, chain(other), "3 1 1"},
		{"EE ignores having none", []Record{tlsa(EE, SPKI, SHA256, nameless.Certificate)}, chain(nameless), "3 1 1"},
		{"EE ignores the end", []Record{tlsa(EE, SPKI, SHA256, old.Certificate)}, chain(old), "3 1 1"},
		{"EE ignores the beginning", []Record{tlsa(EE, SPKI, SHA256, early.Certificate)}, chain(early), "3 1 1"},
		{"EE ignores who signed", []Record{tlsa(EE, SPKI, SHA256, self.Certificate)}, chain(self), "3 1 1"},
		{"EE ignores the usage", []Record{tlsa(EE, SPKI, SHA256, client.Certificate)}, chain(client), "3 1 1"},
		{"EE is not the issuer", []Record{tlsa(EE, SPKI, SHA256, middle.Certificate)}, chain(leaf, middle), mismatch},
		{"EE of another", []Record{tlsa(EE, SPKI, SHA256, other.Certificate)}, chain(leaf, middle), mismatch},
		{"EE during a rollover", []Record{tlsa(EE, SPKI, SHA256, other.Certificate), tlsa(EE, SPKI, SHA256, leaf.Certificate)}, chain(leaf, middle), "3 1 1"},
		{"EE behind another's, in full", []Record{tlsa(EE, SPKI, SHA256, leaf.Certificate)}, chain(other, leaf), mismatch},

		{"2 0 0", []Record{tlsa(TA, Cert, Full, middle.Certificate)}, chain(leaf, middle), "2 0 0"},
		{"2 0 1", []Record{tlsa(TA, Cert, SHA256, middle.Certificate)}, chain(leaf, middle), "2 0 1"},
		{"2 0 2", []Record{tlsa(TA, Cert, SHA512, root.Certificate)}, chain(leaf, middle, root), "2 0 2"},
		{"2 1 0", []Record{tlsa(TA, SPKI, Full, middle.Certificate)}, chain(leaf, middle), "2 1 0"},
		{"2 1 1", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(leaf, middle), "2 1 1"},
		{"2 1 2", []Record{tlsa(TA, SPKI, SHA512, root.Certificate)}, chain(leaf, middle, root), "2 1 2"},
		{"TA and EE", []Record{tlsa(TA, SPKI, SHA256, other.Certificate), tlsa(EE, SPKI, SHA256, leaf.Certificate)}, chain(leaf, middle), "3 1 1"},
		{"EE fails, TA holds", []Record{tlsa(EE, SPKI, SHA256, other.Certificate), tlsa(TA, SPKI, SHA256, root.Certificate)}, chain(leaf, middle, root), "2 1 1"},
		{"in another order", []Record{tlsa(TA, SPKI, SHA256, root.Certificate)}, chain(leaf, root, middle), "2 1 1"},
		{"TA in full, not sent", []Record{tlsa(TA, Cert, Full, root.Certificate)}, chain(leaf, middle), "2 0 0"},
		{"TA as a key, not sent", []Record{tlsa(TA, SPKI, Full, root.Certificate)}, chain(leaf, middle), "2 1 0"},
		{"the same, over the host itself", []Record{tlsa(TA, SPKI, Full, middle.Certificate)}, chain(leaf), "2 1 0"},
		{"the same, with RSA", []Record{tlsa(TA, SPKI, Full, rsaRoot.Certificate)}, chain(rsaLeaf), "2 1 0"},
		{"the same, with Ed25519", []Record{tlsa(TA, SPKI, Full, edRoot.Certificate)}, chain(edLeaf), "2 1 0"},
		{"TA as another's key", []Record{tlsa(TA, SPKI, Full, other.Certificate)}, chain(leaf, middle), anchor + ": x509: certificate signed by unknown authority"},
		{"TA by digest, not sent", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(leaf), mismatch},
		{"TA of the next hop's name", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(nextHop, middle), "2 1 1"},
		{"TA of a wildcard", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(wild, middle), "2 1 1"},
		{"TA minds the name", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(other, middle), anchor + ": x509: certificate is valid for mx.other.example, not mx.example"},
		{"TA minds a name that is only common", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(nameless, middle), anchor + ": x509: certificate relies on legacy Common Name field, use SANs instead"},
		{"TA minds the end", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(old, middle), anchor + ": x509: certificate has expired or is not yet valid"},
		{"TA minds the beginning", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(early, middle), anchor + ": x509: certificate has expired or is not yet valid"},
		{"TA minds its own end", []Record{tlsa(TA, SPKI, SHA256, oldMiddle.Certificate)}, chain(underOld, oldMiddle), anchor + ": x509: certificate has expired or is not yet valid"},
		{"TA minds the usage", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(client, middle), anchor + ": x509: certificate specifies an incompatible key usage"},
		{"TA that is no authority", []Record{tlsa(TA, SPKI, SHA256, noCA.Certificate)}, chain(underNoCA, noCA), anchor + ": x509: certificate signed by unknown authority"},
		{"TA that only has the name of the issuer", []Record{tlsa(TA, SPKI, SHA256, middle.Certificate)}, chain(underFalse, middle), anchor + ": x509: certificate signed by unknown authority"},
		{"TA is not the host's own", []Record{tlsa(TA, SPKI, SHA256, self.Certificate)}, chain(self), mismatch},
		{"nor sent twice", []Record{tlsa(TA, SPKI, SHA256, self.Certificate)}, chain(self, self), mismatch},
		{"nor in full", []Record{tlsa(TA, Cert, Full, self.Certificate)}, chain(self), mismatch},
		{"TA that is sent and did not sign", []Record{tlsa(TA, SPKI, SHA256, root.Certificate)}, chain(self, root), anchor + ": x509: certificate signed by unknown authority"},
		{"TA beyond the bound", []Record{tlsa(TA, SPKI, SHA256, root.Certificate)}, slices.Concat(chain(leaf), slices.Repeat(chain(middle), maxChain-1), chain(root)), mismatch},

		{"a weak digest does not count beside a strong one", []Record{tlsa(EE, SPKI, SHA256, leaf.Certificate), tlsa(EE, SPKI, SHA512, other.Certificate)}, chain(leaf, middle), mismatch},
		{"a damaged strong one does not displace it", []Record{tlsa(EE, SPKI, SHA256, leaf.Certificate), {EE, SPKI, SHA512, []byte("x")}}, chain(leaf, middle), "3 1 1"},
		{"one for another selector neither", []Record{tlsa(EE, SPKI, SHA256, leaf.Certificate), tlsa(EE, Cert, SHA512, other.Certificate)}, chain(leaf, middle), "3 1 1"},
		{"nor for another usage", []Record{tlsa(EE, SPKI, SHA256, leaf.Certificate), tlsa(TA, SPKI, SHA512, other.Certificate)}, chain(leaf, middle), "3 1 1"},
		{"full data always counts", []Record{tlsa(EE, SPKI, Full, leaf.Certificate), tlsa(EE, SPKI, SHA512, other.Certificate)}, chain(leaf, middle), "3 1 0"},

		{"PKIX-EE", []Record{tlsa(PKIXEE, SPKI, SHA256, leaf.Certificate)}, chain(leaf, middle), unusable},
		{"PKIX-TA", []Record{tlsa(PKIXTA, SPKI, SHA256, middle.Certificate)}, chain(leaf, middle), unusable},
		{"PKIX beside DANE", []Record{tlsa(PKIXEE, SPKI, SHA256, leaf.Certificate), tlsa(EE, SPKI, SHA256, other.Certificate)}, chain(leaf, middle), mismatch},
		{"nothing presented", []Record{tlsa(EE, SPKI, SHA256, leaf.Certificate)}, nil, mismatch},
		{"nothing published", nil, chain(leaf), unusable},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := &Set{Names: []string{"mx.example", "d.example"}, Records: usable(tc.records)}
			r, err := s.Verify(tc.chain, now)
			got := fmt.Sprintf("%d %d %d", r.Usage, r.Selector, r.Matching)
			if err != nil {
				got = err.Error()
				if !errors.Is(err, ErrAnchor) && !errors.Is(err, ErrNoMatch) && !errors.Is(err, ErrUnusable) {
					t.Errorf("of no kind: %v", err)
				}
			}
			if len(got) > len(tc.want) && err != nil {
				got = got[:len(tc.want)] // the library's details
			}
			if got != tc.want {
				t.Errorf("%s\nwant %s", got, tc.want)
			}
		})
	}
}

// TestVerifyCost: a host that publishes and presents as much as it can does
// not keep us long: there is one verification, with the library's bound on
// the signatures that it checks.
func TestVerifyCost(t *testing.T) {
	t.Parallel()
	key := ecKey(t)
	var certs []*x509.Certificate
	for i := range maxChain { // each has issued each
		c := issue(t, nil, key, "x", func(c *x509.Certificate) { c.DNSNames = []string{fmt.Sprintf("mx%d.example", i)} })
		certs = append(certs, c.Certificate)
	}
	s := Set{Names: []string{"mx0.example"}}
	for range maxRecords {
		s.Records = append(s.Records, tlsa(TA, SPKI, Full, issue(t, nil, ecKey(t), "y").Certificate))
	}
	if _, err := s.Verify(certs, now); !errors.Is(err, ErrAnchor) || !strings.Contains(err.Error(), "limit reached") {
		t.Error(err)
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	leaf := issue(t, nil, ecKey(t), "leaf", names("mx.example")).Certificate
	for u := range Usage(5) {
		for s := range Selector(3) {
			for m := range Matching(4) {
				if u == PKIXTA || u == PKIXEE {
					continue
				}
				want := (u == TA || u == EE) && s <= SPKI && m <= SHA512
				if got := tlsa(u, s, m, leaf).Usable(); got != want {
					t.Errorf("%d %d %d: %v", u, s, m, got)
				}
			}
		}
	}
	for _, r := range []Record{
		tlsa(PKIXTA, SPKI, SHA256, leaf), tlsa(PKIXEE, Cert, Full, leaf),
		{EE, SPKI, SHA256, nil}, {EE, SPKI, SHA256, make([]byte, 31)}, {EE, SPKI, SHA256, make([]byte, 33)},
		{EE, SPKI, SHA512, make([]byte, 32)}, {TA, Cert, Full, []byte("x")}, {TA, SPKI, Full, []byte("x")},
		{TA, SPKI, Full, leaf.Raw}, {TA, Cert, Full, leaf.RawSubjectPublicKeyInfo}, {TA, Cert, Full, nil},
	} {
		if r.Usable() {
			t.Errorf("usable: %v", r)
		}
	}
}

// TestOwn: what we publish is what others will match, and reads as a zone
// file.
func TestOwn(t *testing.T) {
	t.Parallel()
	ca := issue(t, nil, ecKey(t), "ca")
	leaf := issue(t, ca, ecKey(t), "leaf", names("mx.example"))
	ours, err := ForKey(leaf.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Record{ours, ForAuthority(ca.Certificate)} {
		if !r.Usable() {
			t.Errorf("unusable: %v", r)
		}
		rr, err := dns.NewRR("_25._tcp.mx.example. TLSA " + r.String())
		if err != nil || !fromDNS(rr.(*dns.TLSA)).Equal(r) {
			t.Errorf("%v: %v, %v", r, rr, err)
		}
		s := &Set{Names: []string{"mx.example"}, Records: []Record{r}}
		if got, err := s.Verify(chain(leaf, ca), now); err != nil || !got.Equal(r) {
			t.Errorf("%v: %v, %v", r, got, err)
		}
	}
	if _, err := ForKey(crypto.PublicKey("none")); err == nil {
		t.Error("a key that is none")
	}
	if fromDNS(&dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Certificate: "xyz"}).Usable() {
		t.Error("usable without data")
	}
}

// TestPlan follows a key from its making to its end: at no time is a key in
// use that some cache does not know.
func TestPlan(t *testing.T) {
	t.Parallel()
	record := func(b byte) Record { return Record{EE, SPKI, SHA256, append(make([]byte, 31), b)} }
	one, two, three := record(1), record(2), record(3)
	p := Plan{Current: one, Next: two, TTL: time.Hour}
	ready := func(step string, want time.Time) {
		t.Helper()
		if at, ok := p.Ready(); ok != !want.IsZero() || ok && !at.Equal(want) {
			t.Errorf("%s: %v, %v", step, at, ok)
		}
	}
	ready("made", time.Time{})
	p = p.Observe([]Record{one}, now)
	ready("not published", time.Time{})
	p = p.Observe([]Record{two, one}, now)
	ready("published", now.Add(2*time.Hour))
	p = p.Observe([]Record{one, two}, now.Add(time.Hour))
	ready("still there", now.Add(2*time.Hour))
	p = p.Observe([]Record{one}, now.Add(time.Hour))
	ready("taken away", time.Time{})
	p = p.Observe([]Record{one, two}, now.Add(3*time.Hour))
	ready("put back", now.Add(5*time.Hour))
	p = p.Advance(three)
	ready("in use", time.Time{})
	if !slices.EqualFunc(p.Records(), []Record{two, three}, Record.Equal) || p.TTL != time.Hour {
		t.Errorf("%v", p)
	}
}

// FuzzRecord takes any record against a chain: it matches only what it names,
// and nothing panics.
func FuzzRecord(f *testing.F) {
	ca := issue(f, nil, ecKey(f), "ca")
	leaf := issue(f, ca, ecKey(f), "leaf", names("mx.example"))
	for u := range Usage(4) {
		for s := range Selector(2) {
			for m := range Matching(3) {
				for _, c := range []*x509.Certificate{ca.Certificate, leaf.Certificate} {
					f.Add(uint8(u), uint8(s), uint8(m), tlsa(u, s, m, c).Data)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, u, s, m uint8, data []byte) {
		r := fromDNS(&dns.TLSA{Usage: u, Selector: s, MatchingType: m, Certificate: fmt.Sprintf("%x", data)})
		set := &Set{Names: []string{"mx.example"}, Records: usable([]Record{r})}
		if len(set.Records) == 1 != r.Usable() {
			t.Fatal("usable and not")
		}
		got, err := set.Verify(chain(leaf, ca), now)
		if err != nil {
			return
		}
		c := leaf.Certificate
		if r.Usage == TA {
			c = ca.Certificate
		}
		if !got.Equal(r) || !r.Equal(tlsa(r.Usage, r.Selector, r.Matching, c)) {
			t.Errorf("%v matches", r)
		}
	})
}
