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
	"flag"
	"fmt"
	"math/big"
	"os"
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
)

var update = flag.Bool("update", false, "write the table in docs/transport.md anew")

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
}

// cell is a column's policy beside a row's condition: each changes the scene
// before anything is sent.
type cell struct {
	name  string
	apply func(*scene)
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

// result tells in a few words what came of it, and what is reported.
func (s *scene) result() string {
	o := s.deliver()
	var words []string
	switch {
	case o.Status == envelope.Relayed && o.Proof.Version == 0:
		words = append(words, "clear")
	case o.Status == envelope.Relayed:
		words = append(words, "sent")
	case o.Status == envelope.Deferred && o.Destination:
		words = append(words, "wait")
	case o.Status == envelope.Failed:
		words = append(words, "fails")
	default:
		s.t.Errorf("an outcome of no kind: %s", show(o))
	}
	if o.Status != envelope.Relayed && len(s.server.heard("MAIL", "RCPT", "DATA", "BDAT")) > 0 {
		s.t.Errorf("%s, and yet something was said: %v", show(o), s.server.lines)
	}
	if err := s.tally.Flush(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	var reported []string
	for _, sum := range s.memory.sums {
		if r := string(sum.Failure.Result); r != "" && !slices.Contains(reported, r) {
			reported = append(reported, r)
		}
	}
	slices.Sort(reported)
	return strings.Join(append(words, reported...), ", ")
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

// policies are the columns.
var policies = []cell{
	{"no policy", func(*scene) {}},
	{"remembered (verified)", func(s *scene) {
		s.levels["d.example"] = transport.Reached{Level: transport.Verify, At: time.Now()}
	}},
	{"STS testing", func(s *scene) { s.policy = promise(mtasts.Testing) }},
	{"STS enforce", func(s *scene) { s.policy = promise(mtasts.Enforce) }},
	{"DANE-TA", func(s *scene) { s.tlsa("2 1 1 " + spki(ca.cert)) }},
	{"DANE-EE", func(s *scene) { s.tlsa("3 1 1 " + spki(s.leaf())) }},
	{"default verify", func(s *scene) { s.floor = transport.Verify }},
	{"route require", func(s *scene) { s.to = "route:require" }},
	{"route verify", func(s *scene) { s.to = "route:verify" }},
}

// condition is a row: what is wrong with the host, before the policy is
// published, and with the policy, after. only names the columns that it can
// happen to, all if none.
type condition struct {
	name   string
	before func(*scene)
	after  func(*scene)
	only   []string
}

func conditions() []condition {
	presents := func(c *tls.Config) func(*scene) { return func(s *scene) { s.server.tls = c } }
	fails := func(kind error) func(*scene) {
		return func(s *scene) { s.dns.Fail("_25._tcp.host.example", dns.TypeTLSA, kind) }
	}
	dane, sts := []string{"DANE-TA", "DANE-EE"}, []string{"STS testing", "STS enforce"}
	return []condition{
		{"nothing is wrong", nil, nil, nil},
		{"STARTTLS stripped", func(s *scene) { s.server.offers = "PIPELINING" }, nil, nil},
		{"STARTTLS refused", func(s *scene) {
			s.server.answer = func(_ int, line string) string {
				if line == "STARTTLS" {
					return "454 4.7.0 TLS not available"
				}
				return ""
			}
		}, nil, nil},
		{"the handshake breaks", presents(&tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, Certificates: ca.host("host.example", time.Hour).Certificates}), nil, nil},
		{"wrong name", presents(ca.host("other.example", time.Hour)), nil, nil},
		{"expired", presents(ca.host("host.example", -time.Hour)), nil, nil},
		{"self-signed", presents((&issuer{}).host("host.example", time.Hour)), nil, nil},
		{"unknown authority", presents(newIssuer("nobody").host("host.example", time.Hour)), nil, nil},
		{"TLSA mismatch", nil, func(s *scene) { s.tlsa("3 1 1 " + spki(newIssuer("x").cert)) }, dane},
		{"TLSA, none usable", nil, func(s *scene) { s.tlsa("1 1 1 " + spki(s.leaf())) }, dane},
		{"TLSA, none usable, and expired", presents(ca.host("host.example", -time.Hour)), func(s *scene) { s.tlsa("1 1 1 " + spki(s.leaf())) }, dane},
		{"TLSA, none usable, and STARTTLS stripped", func(s *scene) { s.server.offers = "" }, func(s *scene) { s.tlsa("1 1 1 " + spki(s.leaf())) }, dane},
		{"bogus signatures of TLSA", nil, fails(resolve.ErrBogus), dane},
		{"SERVFAIL or no answer for TLSA", nil, fails(resolve.ErrTemporary), dane},
		{"the zone is not signed", nil, func(s *scene) { s.dns.Secure = false }, dane},
		{"host not in the policy", nil, func(s *scene) { s.policy.MX = []mtasts.Pattern{"mx.example", "*.host.example"} }, sts},
		{"policy host unreachable, cached", nil, func(s *scene) {
			s.entries["d.example"] = mtasts.Entry{Domain: "d.example", ID: "0", Policy: s.policy, Fetched: time.Now()}
			s.policy, s.fetch = mtasts.Policy{}, mtasts.ErrFetch
		}, sts},
		{"the same, and expired certificate", presents(ca.host("host.example", -time.Hour)), func(s *scene) {
			s.entries["d.example"] = mtasts.Entry{Domain: "d.example", ID: "0", Policy: s.policy, Fetched: time.Now()}
			s.policy, s.fetch = mtasts.Policy{}, mtasts.ErrFetch
		}, sts},
		{"policy host unreachable, not cached", nil, func(s *scene) { s.policy, s.fetch = mtasts.Policy{}, mtasts.ErrFetch }, sts},
		{"policy host with a bad certificate", nil, func(s *scene) { s.policy, s.fetch = mtasts.Policy{}, mtasts.ErrCertificate }, sts},
		{"policy that cannot be read", nil, func(s *scene) { s.policy, s.fetch = mtasts.Policy{}, mtasts.ErrPolicy }, sts},
		{"REQUIRETLS, not offered", nil, func(s *scene) { s.need = true }, nil},
		{"REQUIRETLS, offered", func(s *scene) { s.server.offers += " REQUIRETLS" }, func(s *scene) { s.need = true }, nil},
		{"REQUIRETLS, offered, and expired", func(s *scene) {
			s.server.offers += " REQUIRETLS"
			s.server.tls = ca.host("host.example", -time.Hour)
		}, func(s *scene) { s.need = true }, nil},
		{"TLS-Required: No, and STARTTLS stripped", func(s *scene) { s.server.offers = "PIPELINING" }, func(s *scene) { s.waive = true }, nil},
		{"TLS-Required: No, and expired", presents(ca.host("host.example", -time.Hour)), func(s *scene) { s.waive = true }, nil},
		{"TLS-Required: No beside REQUIRETLS", func(s *scene) { s.server.offers += " REQUIRETLS" }, func(s *scene) { s.need, s.waive = true, true }, nil},
	}
}

// TestMatrix is the table of docs/transport.md: each condition beside each
// policy.
func TestMatrix(t *testing.T) {
	t.Parallel()
	list := conditions()
	table := make([][]string, len(list))
	t.Run("cells", func(t *testing.T) {
		for i, row := range list {
			table[i] = make([]string, len(policies))
			for j, column := range policies {
				if row.only != nil && !slices.Contains(row.only, column.name) {
					table[i][j] = "–"
					continue
				}
				t.Run(row.name+" beside "+column.name, func(t *testing.T) {
					t.Parallel()
					s := newScene(t)
					for _, f := range []func(*scene){row.before, column.apply, row.after} {
						if f != nil {
							f(s)
						}
					}
					s.open()
					table[i][j] = s.result()
				})
			}
		}
	})
	var b strings.Builder
	b.WriteString("| condition |")
	for _, column := range policies {
		b.WriteString(" " + column.name + " |")
	}
	b.WriteString("\n|" + strings.Repeat("---|", len(policies)+1) + "\n")
	for i, row := range list {
		b.WriteString("| " + row.name + " | " + strings.Join(table[i], " | ") + " |\n")
	}
	compareTable(t, b.String())
}

// compareTable compares the table with the page that shows it.
func compareTable(t *testing.T, table string) {
	t.Helper()
	const page, start, end = "../../docs/transport.md", "<!-- the table that TestMatrix writes -->\n", "<!-- end of the table -->\n"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), start)
	had, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the page has no place for the table")
	}
	if had == table {
		return
	}
	if !*update {
		t.Fatalf("%s shows another table; look at what changed, then go test ./internal/remote -update:\n%s", page, table)
	}
	if err := os.WriteFile(page, []byte(before+start+table+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
