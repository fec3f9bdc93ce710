package remote

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/mtasts"
	"gatepost/internal/resolve"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/transport"
	"gatepost/internal/transport/matrix"
)

// issuer is an authority of a test, and whom it certifies.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(name string) *issuer {
	a := &issuer{}
	a.cert, a.key = a.certify(name, nil, time.Hour)
	return a
}

// certify makes a certificate for names, or of an authority without any.
func (a *issuer) certify(subject string, names []string, life time.Duration) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: subject}, DNSNames: names,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(life),
		IsCA: names == nil, BasicConstraintsValid: true,
	}
	by, with := c, key
	if a.cert != nil {
		by, with = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), with)
	if err != nil {
		panic(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return made, key
}

// host is what a server presents: a certificate and the authority's.
func (a *issuer) host(name string, life time.Duration) *tls.Config {
	c, key := a.certify(name, []string{name}, life)
	chain := [][]byte{c.Raw}
	if a.cert != nil {
		chain = append(chain, a.cert.Raw)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key, Leaf: c}}}
}

// spki is the data of a 1 1 record.
func spki(c *x509.Certificate) string {
	return fmt.Sprintf("%x", sha256.Sum256(c.RawSubjectPublicKeyInfo))
}

// memory is a transport.Memory, an mtasts.Shelf and tlsrpt.Sums.
type memory struct {
	mu      sync.Mutex
	levels  map[string]transport.Reached
	entries map[string]mtasts.Entry
	sums    []tlsrpt.Sum
	err     error // of reading
}

func (m *memory) Level(_ context.Context, domain string) (transport.Reached, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.levels[domain], m.err
}

func (m *memory) Remember(domain string, r transport.Reached) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.levels[domain] = r
}

func (m *memory) Get(_ context.Context, domain string) (mtasts.Entry, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[domain]
	return e, ok, m.err
}

func (m *memory) Put(_ context.Context, e mtasts.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries[e.Domain] = e
	return nil
}

func (m *memory) Due(context.Context, time.Time, int) ([]mtasts.Entry, error) { return nil, nil }

func (m *memory) Expire(context.Context, time.Time) error { return nil }

func (m *memory) Add(_ context.Context, sums []tlsrpt.Sum) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sums = append(m.sums, sums...)
	return nil
}

// scene is one world with everything that decides about it.
type scene struct {
	*world
	*memory
	server *server
	sender *Sender
	proofs *proofs
	tally  *tlsrpt.Tally
	engine *transport.Engine

	policy mtasts.Policy // of d.example
	fetch  error         // of the policy
	need   bool          // the message asks for REQUIRETLS
	waive  bool          // it says TLS-Required: No
	to     string        // destination
	floor  transport.Level
	anchor bool // the TLSA records name an authority
}

var ca = newIssuer("authority")

const sceneZone = "d.example. MX 10 host.example.\nhost.example. A 192.0.2.1"

// newScene returns a host that does everything right, and nobody who asks.
func newScene(t *testing.T) *scene {
	return &scene{
		world:  newWorld(t, sceneZone),
		memory: &memory{levels: map[string]transport.Reached{}, entries: map[string]mtasts.Entry{}},
		server: &server{offers: "STARTTLS PIPELINING", tls: ca.host("host.example", time.Hour)},
		proofs: &proofs{}, to: "d.example",
	}
}

// open builds the sender once the scene is set.
func (s *scene) open() {
	if s.policy.Mode != mtasts.None || s.fetch != nil {
		s.dns.Add(`_mta-sts.d.example. TXT "v=STSv1; id=1"`)
	}
	s.host("192.0.2.1", s.server)
	s.tally = tlsrpt.NewTally(s.memory, clock.System)
	s.engine = transport.New(transport.Options{
		Resolver: s.dns, Memory: s.memory, Tally: s.tally, Clock: clock.System,
		Policies: mtasts.NewCache(mtasts.Options{
			Shelf: s.memory, Resolver: s.dns, Clock: clock.System,
			Fetch: func(context.Context, string) (mtasts.Policy, error) { return s.policy, s.fetch },
		}),
	})
	s.engine.SetFloor(max(s.floor, transport.Opportunistic))
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	s.sender = s.world.sender(func(o *Options) {
		o.Policy, o.Proofs, o.Roots = s.engine, s.proofs, pool
		o.Routes = []Route{{Name: "require", Via: "host.example", TLS: transport.Require}, {Name: "verify", Via: "host.example", TLS: transport.Verify}}
	})
}

// deliver sends one message.
func (s *scene) deliver() envelope.Outcome {
	a := attempt(s.to, body, "b@d.example")
	a.Envelope.RequireTLS, a.Envelope.TLSOptional = s.need, s.waive
	return s.sender.Deliver(s.t.Context(), a)[0]
}

// result is what came of it, as a cell of the table, and the policy that its
// proof names.
func (s *scene) result() (c matrix.Cell, policy string) {
	o := s.deliver()
	switch {
	case o.Status == envelope.Relayed && o.Proof.Version == 0:
		c.Outcome = "clear"
	case o.Status == envelope.Relayed && !o.Proof.Verified:
		c.Outcome = "encrypted"
	case o.Status == envelope.Relayed:
		c.Outcome = "verified"
	case o.Status == envelope.Deferred && o.Destination:
		c.Outcome, c.Status = "wait", o.Err.Enhanced
	case o.Status == envelope.Failed:
		c.Outcome, c.Status = "fails", o.Err.Enhanced
	default:
		s.t.Errorf("an outcome of no kind: %s", show(o))
	}
	if o.Status != envelope.Relayed && len(s.server.heard("MAIL", "RCPT", "DATA", "BDAT")) > 0 {
		s.t.Errorf("%s, and yet something was said: %v", show(o), s.server.lines)
	}
	if o.Status == envelope.Relayed {
		policy = o.Proof.Policy
	}
	if err := s.tally.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	for _, sum := range s.memory.sums {
		kind := strings.Replace(string(sum.Policy.Kind), "no-policy-found", "none", 1)
		if r := kind + ":" + string(sum.Failure.Result); sum.Failure.Result != "" && !slices.Contains(c.Reports, r) {
			c.Reports = append(c.Reports, r)
		}
	}
	slices.Sort(c.Reports)
	return c, policy
}

// came is result in one line.
func (s *scene) came() string {
	c, _ := s.result()
	return c.String()
}

// tlsa publishes records in a signed zone.
func (s *scene) tlsa(records ...string) {
	s.dns.Secure = true
	s.dns.Remove("_25._tcp.host.example", dns.TypeTLSA)
	for _, r := range records {
		s.dns.Add("_25._tcp.host.example. TLSA " + r)
	}
}

func (s *scene) leaf() *x509.Certificate { return s.server.tls.Certificates[0].Leaf }

func promise(mode mtasts.Mode) mtasts.Policy {
	return mtasts.Policy{Mode: mode, MX: []mtasts.Pattern{"host.example"}, MaxAge: 24 * time.Hour}
}

// policies are the columns, by their names in the table.
var policies = map[string]func(*scene){
	"no policy": func(*scene) {},
	"remembered level": func(s *scene) {
		s.levels["d.example"] = transport.Reached{Level: transport.Verify, At: time.Now()}
	},
	"STS testing":    func(s *scene) { s.policy = promise(mtasts.Testing) },
	"STS enforce":    func(s *scene) { s.policy = promise(mtasts.Enforce) },
	"DANE-TA":        func(s *scene) { s.tlsa("2 1 1 " + spki(ca.cert)); s.anchor = true },
	"DANE-EE":        func(s *scene) { s.tlsa("3 1 1 " + spki(s.leaf())) },
	"default verify": func(s *scene) { s.floor = transport.Verify },
	"route require":  func(s *scene) { s.to = "route:require" },
	"route verify":   func(s *scene) { s.to = "route:verify" },
}

// condition is a row: what is wrong with the host, before the policy is
// published, and with the policy, after.
type condition struct{ before, after func(*scene) }

// presents makes the host present another certificate.
func presents(c *tls.Config) func(*scene) { return func(s *scene) { s.server.tls = c } }

// expired is the certificate of the host an hour ago.
func expired(s *scene) { s.server.tls = ca.host("host.example", -time.Hour) }

func stripped(s *scene) { s.server.offers = "PIPELINING" }

// published makes sure that there are TLSA records that are right.
func published(s *scene) {
	if !s.dns.Secure {
		s.tlsa("3 1 1 " + spki(s.leaf()))
	}
}

// mismatch makes the records name somebody else.
func mismatch(s *scene) {
	usage := "3"
	if s.anchor {
		usage = "2"
	}
	s.tlsa(usage + " 1 1 " + spki(newIssuer("x").cert))
}

func unusable(s *scene) { s.tlsa("1 1 1 " + spki(s.leaf())) }

// fails makes the look-up of the records fail.
func fails(kind error) func(*scene) {
	return func(s *scene) {
		published(s)
		s.dns.Fail("_25._tcp.host.example", dns.TypeTLSA, kind)
	}
}

// promised makes sure that there is an MTA-STS policy.
func promised(s *scene) {
	if s.policy.Mode == mtasts.None {
		s.policy = promise(mtasts.Enforce)
	}
}

// cached makes the policy one that was fetched before, by another ID.
func cached(s *scene) {
	promised(s)
	s.entries["d.example"] = mtasts.Entry{Domain: "d.example", ID: "0", Policy: s.policy, Fetched: time.Now()}
}

// fetching makes the newest policy one that cannot be had.
func fetching(err error) func(*scene) {
	return func(s *scene) { s.policy, s.fetch = mtasts.Policy{}, err }
}

func both(list ...func(*scene)) func(*scene) {
	return func(s *scene) {
		for _, f := range list {
			f(s)
		}
	}
}

// conditions are the rows, by their names in the table.
func conditions() map[string]condition {
	needs := func(s *scene) { s.need = true }
	waives := func(s *scene) { s.waive = true }
	offers := func(s *scene) { s.server.offers += " REQUIRETLS" }
	self := presents((&issuer{}).host("host.example", time.Hour))
	return map[string]condition{
		"nothing is wrong":                    {},
		"the handshake is reset for its size": {before: func(s *scene) { s.server.tls = resets(s.server.tls) }},
		"STARTTLS stripped":                   {before: stripped},
		"STARTTLS refused": {before: func(s *scene) {
			s.server.answer = func(_ int, line string) string {
				if line == "STARTTLS" {
					return "454 4.7.0 TLS not available"
				}
				return ""
			}
		}},
		"the handshake breaks": {before: presents(&tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, Certificates: ca.host("host.example", time.Hour).Certificates})},
		"wrong name":           {before: presents(ca.host("other.example", time.Hour))},
		"expired":              {before: expired},
		"self-signed":          {before: self},
		"unknown authority":    {before: presents(newIssuer("nobody").host("host.example", time.Hour))},

		"TLSA mismatch":                            {after: mismatch},
		"TLSA right, name wrong":                   {before: presents(ca.host("other.example", time.Hour)), after: published},
		"TLSA, none usable":                        {after: unusable},
		"TLSA, none usable, and expired":           {before: expired, after: unusable},
		"TLSA, none usable, and STARTTLS stripped": {before: stripped, after: unusable},
		"bogus signatures of TLSA":                 {after: fails(resolve.ErrBogus)},
		"SERVFAIL for TLSA":                        {after: fails(resolve.ErrTemporary)},
		"bogus signatures of the MX": {after: func(s *scene) {
			s.dns.Fail("d.example", dns.TypeMX, resolve.ErrBogus)
		}},
		"TLSA mismatch, the zone not signed": {after: both(mismatch, func(s *scene) { s.dns.Secure = false })},

		"host not in the policy": {after: func(s *scene) {
			promised(s)
			s.policy.MX = []mtasts.Pattern{"mx.example", "*.host.example"}
		}},
		"policy host unreachable, cached":              {after: both(cached, fetching(mtasts.ErrFetch))},
		"policy host unreachable, cached, and expired": {before: expired, after: both(cached, fetching(mtasts.ErrFetch))},
		"policy host unreachable, not cached":          {after: fetching(mtasts.ErrFetch)},
		"policy host with a bad certificate":           {after: fetching(mtasts.ErrCertificate)},
		"policy that cannot be read":                   {after: fetching(mtasts.ErrPolicy)},
		"policy replaced since it was cached": {after: func(s *scene) {
			cached(s)
			old := s.entries["d.example"]
			old.Policy.MX = []mtasts.Pattern{"old.example"}
			s.entries["d.example"] = old
		}},
		"downgrade below the remembered level": {before: self, after: policies["remembered level"]},

		"REQUIRETLS, not offered":                 {after: needs},
		"REQUIRETLS, offered":                     {before: offers, after: needs},
		"REQUIRETLS, offered, and expired":        {before: both(offers, expired), after: needs},
		"TLS-Required: No, and STARTTLS stripped": {before: stripped, after: waives},
		"TLS-Required: No, and expired":           {before: expired, after: waives},
		"TLS-Required: No beside REQUIRETLS":      {before: offers, after: both(needs, waives)},
	}
}

// TestMatrix runs the table of docs/transport.md: each condition beside each
// policy.
func TestMatrix(t *testing.T) {
	t.Parallel()
	table, err := matrix.Read("../../docs/transport.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := conditions()
	if len(table.Rows) != len(rows) || len(table.Columns) != len(policies) {
		t.Fatalf("the page has %d rows and %d columns; there are %d and %d", len(table.Rows), len(table.Columns), len(rows), len(policies))
	}
	for _, row := range table.Rows {
		for i, want := range row.Cells {
			column := table.Columns[i]
			t.Run(row.Condition+" beside "+column, func(t *testing.T) {
				t.Parallel()
				c, known := rows[row.Condition]
				apply := policies[column]
				if !known || apply == nil {
					t.Fatal("nobody knows how to make this")
				}
				s := newScene(t)
				for _, f := range []func(*scene){c.before, apply, c.after} {
					if f != nil {
						f(s)
					}
				}
				s.open()
				got, policy := s.result()
				if got.String() != want.String() {
					t.Errorf("%s\nwant %s (%s)", got, want, want.Why)
				}
				if want.Goes() && policy != want.Policy(column) {
					t.Errorf("by the policy %q, want %q (%s)", policy, want.Policy(column), want.Why)
				}
			})
		}
	}
}
