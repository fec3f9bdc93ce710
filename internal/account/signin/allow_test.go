package signin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/account/clientcert"
	"gatepost/internal/account/record"
	"gatepost/internal/account/sasl"
	"gatepost/internal/account/terms"
	"gatepost/internal/activity"
	"gatepost/internal/envelope"
)

// A device password that is right and may not be used so is refused as a wrong
// one is: in words, and by what it costs. Its owner hears why.
func TestBarred(t *testing.T) {
	t.Parallel()
	home := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for name, c := range map[string]struct {
		terms  func(now time.Time) terms.Terms
		door   envelope.Door
		from   string
		detail string // empty: it may
	}{
		"send sends":          {func(time.Time) terms.Terms { return terms.Terms{Scope: terms.Send} }, envelope.Submission, "192.0.2.1", ""},
		"read does not send":  {func(time.Time) terms.Terms { return terms.Terms{Scope: terms.Read} }, envelope.Submission, "192.0.2.1", `the password of the device "phone" is not for this`},
		"send does not read":  {func(time.Time) terms.Terms { return terms.Terms{Scope: terms.Send} }, envelope.MX, "192.0.2.1", `the password of the device "phone" is not for this`},
		"in time":             {func(now time.Time) terms.Terms { return terms.Terms{Scope: terms.Both, Expires: now.Add(1)} }, envelope.Submission, "192.0.2.1", ""},
		"expired":             {func(now time.Time) terms.Terms { return terms.Terms{Scope: terms.Both, Expires: now} }, envelope.Submission, "192.0.2.1", `the password of the device "phone" has expired`},
		"from home":           {func(time.Time) terms.Terms { return terms.Terms{Scope: terms.Both, Networks: home} }, envelope.Submission, "192.0.2.200", ""},
		"from elsewhere":      {func(time.Time) terms.Terms { return terms.Terms{Scope: terms.Both, Networks: home} }, envelope.Submission, "198.51.100.1", `the password of the device "phone" is not for use from there`},
		"of a damaged row":    {func(time.Time) terms.Terms { return terms.Terms{} }, envelope.Submission, "192.0.2.1", `the password of the device "phone" is not for this`},
		"from home as mapped": {func(time.Time) terms.Terms { return terms.Terms{Scope: terms.Both, Networks: home} }, envelope.Submission, "::ffff:192.0.2.7", ""},
	} {
		for _, own := range []string{password, ""} { // the account's, which may have none
			d := newDesk(t)
			p := d.add(address, own)
			pw := d.addDevice(p)
			for mechanism, client := range d.clients(address, pw) {
				d.clock.Advance(2 * time.Hour) // the last refusal is forgotten
				p.Credentials[len(p.Credentials)-1].Terms = c.terms(d.clock.Now())
				d.hashes.Store(0)
				peer := d.peer(c.from)
				peer.Door = c.door
				x, err := d.Start(mechanism, peer)
				if err != nil {
					t.Fatal(err)
				}
				got, err := d.play(x, client)
				told := d.tried[len(d.tried)-1]
				cost := int64(0)
				if c.detail != "" && (mechanism == sasl.Plain || mechanism == sasl.Login) {
					cost = 1
				}
				switch {
				case c.detail == "" && (err != nil || got != address || told.Outcome != activity.Done):
					t.Errorf("%s by %s: %q, %v", name, mechanism, got, err)
				case c.detail != "" && (!isRefused(err) || told.Outcome != activity.Refused || told.Detail != c.detail || told.Account != address):
					t.Errorf("%s by %s: %v; %+v", name, mechanism, err, told)
				case d.hashes.Load() != cost:
					t.Errorf("%s by %s: %d runs instead of %d", name, mechanism, d.hashes.Load(), cost)
				}
				id, until := x.Credential()
				if c.detail == "" && (id == 0 || !until.Equal(c.terms(d.clock.Now()).Expires)) || c.detail != "" && id != 0 {
					t.Errorf("%s by %s: credential %d until %s", name, mechanism, id, until)
				}
			}
			if strings.Contains(d.log.String(), pw) || c.detail != "" && !strings.Contains(d.log.String(), "credential ") {
				t.Errorf("%s: the log has the password, or not the reason:\n%s", name, d.log.String())
			}
		}
	}
}

// play plays an exchange with an initial response.
func (d *desk) play(x *Exchange, c client) (string, error) {
	d.t.Helper()
	response := c(nil)
	for range 5 {
		challenge, done, err := x.Next(context.Background(), response)
		if err != nil || done {
			return x.Account(), err
		}
		response = c(challenge)
	}
	d.t.Fatal("it does not end")
	return "", nil
}

// issue gives a person a certificate, and returns it in DER.
func (d *desk) issue(by *clientcert.Authority, p *record.Person, until time.Time) []byte {
	d.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	c := &record.Credential{ID: p.ID*100 + int64(len(p.Credentials)), Kind: record.Certificate, Name: "laptop", Terms: terms.Terms{Scope: terms.Both, Expires: until}}
	der, err := by.Issue(clientcert.Subject{Address: p.Address, Account: p.ID, Credential: c.ID}, key.Public(), rand.Reader, d.clock.Now(), until)
	if err != nil {
		d.t.Fatal(err)
	}
	c.SHA256 = clientcert.Sum(der)
	p.Credentials = append(p.Credentials, c)
	return der
}

// authority returns one whose certificates d recognizes.
func (d *desk) authority() *clientcert.Authority {
	d.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	der, err := clientcert.NewAuthority(key, "mx.test", rand.Reader, d.clock.Now())
	if err != nil {
		d.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		d.t.Fatal(err)
	}
	d.o.Certificates = &clientcert.Trusted{}
	d.o.Certificates.Set([]*x509.Certificate{c})
	return &clientcert.Authority{Certificate: c, Key: key}
}

// shows returns a peer that has shown a certificate.
func (d *desk) shows(der []byte, ip string) *envelope.Peer {
	d.t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		d.t.Fatal(err)
	}
	state := *d.tls[0]
	state.PeerCertificates = []*x509.Certificate{c}
	p := d.peer(ip)
	p.TLS = &state
	return p
}

func TestExternal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	by := d.authority()
	henry, anna := d.add(address, password), d.add("anna@example.org", "")
	until := d.clock.Now().Add(24 * time.Hour)
	der := d.issue(by, henry, until)
	stranger := newDesk(t)
	foreign := stranger.issue(stranger.authority(), henry, until)
	henry.Credentials = slices.Delete(henry.Credentials, 2, 3) // which was never ours

	if list := d.Mechanisms(d.shows(der, "192.0.2.1").TLS); list[0] != sasl.External || len(list) != 5 {
		t.Errorf("offered: %q", list)
	}
	for name, p := range map[string]*envelope.Peer{"without": d.elsewhere(), "with a foreign one": d.shows(foreign, "192.0.2.1")} {
		if slices.Contains(d.Mechanisms(p.TLS), sasl.External) {
			t.Errorf("offered %s", name)
		}
		if _, err := d.Start(sasl.External, p); err == nil || envelope.AsError(err).Code != 504 {
			t.Errorf("begun %s: %v", name, err)
		}
	}
	plain := d.shows(der, "192.0.2.1").TLS
	plain.Version = tls.VersionTLS11
	if len(d.Mechanisms(plain)) != 0 {
		t.Error("offered in old TLS")
	}

	as := func(authzid string) client { return func([]byte) []byte { return []byte(authzid) } }
	for _, initial := range []bool{true, false} {
		for authzid, detail := range map[string]string{
			"": "", address: "", "HENRY@example.org": "",
			"anna@example.org": "it asked to act as somebody else", "henry": "it asked to act as somebody else",
			"a\x00b": "it made no sense", "\xff": "it made no sense",
		} {
			got, err := d.run(sasl.External, as(authzid), d.shows(der, d.elsewhere().Addr.Addr().String()), initial)
			told := d.tried[len(d.tried)-1]
			if detail == "" && (got != address || err != nil || told.Credential != "certificate laptop" || told.Mechanism != "EXTERNAL") || detail != "" && (!isRefused(err) || told.Detail != detail) {
				t.Errorf("as %q: %q, %v; %+v", authzid, got, err, told)
			}
		}
	}

	// What the handshake cannot know.
	refused := func(what, detail string, der []byte) {
		t.Helper()
		_, err := d.run(sasl.External, as(""), d.shows(der, d.elsewhere().Addr.Addr().String()), true)
		if told := d.tried[len(d.tried)-1]; !isRefused(err) || told.Detail != detail {
			t.Errorf("%s: %v; %+v", what, err, told)
		}
	}
	annas := d.issue(by, anna, until)
	anna.Frozen = true
	refused("frozen", "the account is frozen", annas)
	anna.Frozen = false
	anna.Credentials[0].Terms.Scope = terms.Read
	refused("to read", `the certificate of the device "laptop" is not for this`, annas)
	anna.Credentials[0].Terms = terms.Terms{Scope: terms.Both, Expires: d.clock.Now()}
	refused("ended before its time", `the certificate of the device "laptop" has expired`, annas)
	anna.Credentials[0].Terms = terms.Terms{Scope: terms.Both, Networks: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}}
	refused("from elsewhere", `the certificate of the device "laptop" is not for use from there`, annas)
	anna.Credentials[0].SHA256 = clientcert.Sum([]byte("another"))
	refused("of which the row has another", "the certificate was revoked", annas)
	anna.Credentials = nil
	refused("revoked", "the certificate was revoked", annas)
	anna.ID = 99
	refused("of an account that another has by now", "the certificate was revoked", annas)
	delete(d.people, anna.Address)
	refused("of an account that is gone", "there is no such account", annas)

	x, err := d.Start(sasl.External, d.shows(der, "192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	d.clock.Advance(24*time.Hour + time.Second)
	if _, _, err := x.Next(context.Background(), []byte{}); !isRefused(err) {
		t.Errorf("it ended between: %v", err)
	}
	if slices.Contains(d.Mechanisms(d.shows(der, "192.0.2.1").TLS), sasl.External) {
		t.Error("offered after its end")
	}
}

// A session asks whether its credential holds when others can tell it of the
// end.
func TestHolds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*desk, *record.Person)
		want   bool
	}{
		"nothing changed": {func(*desk, *record.Person) {}, true},
		"another changed": {func(d *desk, _ *record.Person) { d.Forget([]int64{77}) }, true},
		"frozen":          {func(d *desk, p *record.Person) { p.Frozen = true; d.Forget([]int64{p.ID}) }, false},
		"taken away": {func(d *desk, p *record.Person) {
			q := *p
			q.Credentials = p.Credentials[:1]
			d.people[p.Address] = &q
			d.Forget([]int64{p.ID})
		}, false},
		"removed": {func(d *desk, p *record.Person) { delete(d.people, p.Address); d.Forget([]int64{p.ID}) }, false},
		"another's by now": {func(d *desk, p *record.Person) {
			q := *p
			q.ID++
			d.people[p.Address] = &q
			d.Forget([]int64{p.ID})
		}, false},
	} {
		d := newDesk(t)
		p := d.add(address, password)
		pw := d.addDevice(p)
		x, err := d.Start(sasl.Plain, d.peer("192.0.2.1"))
		if err != nil {
			t.Fatal(err)
		}
		if x.Holds(context.Background()) {
			t.Errorf("%s: it holds before it is known", name)
		}
		if _, err := d.play(x, plain("", address, pw)); err != nil {
			t.Fatal(err)
		}
		c.change(d, p)
		if got := x.Holds(context.Background()); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
