package signin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"gatepost/internal/account/record"
	"gatepost/internal/account/sasl"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/terms"
	"gatepost/internal/account/throttle"
	"gatepost/internal/account/turn"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
	"gatepost/internal/passwords"
)

const (
	password = "correct horse battery"
	address  = "henry@example.org"
)

// somewhere is an attempt from some network.
var somewhere = throttle.Attempt{Source: throttle.From(netip.MustParseAddr("192.0.2.1"), "")}

// desk is a Desk with the people in a map, and everything around it.
type desk struct {
	*Desk
	t     testing.TB
	clock *clock.Fake
	tls   [2]*tls.ConnectionState // server's and client's
	log   bytes.Buffer

	people                   map[addr.Address]*record.Person
	used                     []int64
	networks                 int
	tried                    []activity.Event
	signIns, refused, hashes atomic.Int64
}

func (d *desk) Login(_ context.Context, login string) (addr.Address, *record.Person, error) {
	a, err := addr.Parse(login)
	if err != nil {
		return addr.Address{Local: login}, nil, nil
	}
	a = a.Fold()
	return a, d.people[a], nil
}

func (d *desk) Used(c *record.Credential) { d.used = append(d.used, c.ID) }

func (d *desk) RunOut(*record.Credential) bool { return false }

func (d *desk) Barred(p *record.Person, c *record.Credential) bool {
	return c.Kind == record.Password && p.Factors > 0
}

func (d *desk) Spend(context.Context, *record.Person, Shown, activity.Client) (bool, error) {
	return true, nil
}

func newDesk(t testing.TB, change ...func(*Options)) *desk {
	t.Helper()
	fake := clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	d := &desk{t: t, clock: fake, people: map[addr.Address]*record.Person{}}
	k, err := keys.Open(filepath.Join(t.TempDir(), "keys"), keys.Options{Clock: fake, Random: rand.Reader, Log: slog.New(slog.DiscardHandler), SelfSigned: true})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Keys: k, Clock: fake, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(&d.log, nil)),
		Cost: secret.Cost{Time: 1, Memory: 64, Lanes: 1}, HashRuns: 2, ScramForPasswords: true,
		Tried:   func(e *activity.Event) { d.tried = append(d.tried, *e) },
		SignIns: &d.signIns, Refused: &d.refused, Hashes: &d.hashes,
	}
	for _, f := range change {
		f(&o)
	}
	d.Desk = New(d, o)
	d.tls[0], d.tls[1] = handshake(t, k, tls.VersionTLS13)
	return d
}

// handshake returns what both ends of a TLS connection know of it.
func handshake(t testing.TB, k *keys.Keys, version uint16) (server, client *tls.ConnectionState) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, k.ServerTLS())
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := errors.Join(c.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	ss, cs := s.ConnectionState(), c.ConnectionState()
	return &ss, &cs
}

// add makes a person with a password; an empty one means none.
func (d *desk) add(address, password string) *record.Person {
	d.t.Helper()
	a := addr.MustParse(address)
	p := &record.Person{Account: record.Account{ID: int64(len(d.people) + 1), Address: a}, Salt: d.Salt(a), Iterations: 4096}
	d.people[a] = p
	if password != "" {
		f, err := d.NewPassword(context.Background(), secret.Password(password), passwords.Rating{Score: 3, Length: 21}, p.Salt, p.Iterations)
		if err != nil {
			d.t.Fatal(err)
		}
		d.keep(p, f)
	}
	d.hashes.Store(0)
	return p
}

func (d *desk) addDevice(p *record.Person) string {
	d.t.Helper()
	f, pw, err := d.NewDevice("phone", terms.Terms{Scope: terms.Both}, p.Salt, p.Iterations)
	if err != nil {
		d.t.Fatal(err)
	}
	d.keep(p, f)
	return string(pw)
}

// keep is Keep without a store.
func (d *desk) keep(p *record.Person, f *Fresh) {
	c := &record.Credential{ID: p.ID*100 + int64(len(p.Credentials)), Kind: f.Kind, Name: f.Name, Argon2: f.argon2, SHA256: f.sha256, Terms: f.terms}
	if f.rated != nil {
		c.Rating = d.o.Keys.Seal(sealRating, f.rated.bytes(), sealContext(p.ID, c.ID))
	}
	if f.scram != nil {
		c.Scram = d.o.Keys.Seal(sealScram, f.scram.Bytes(), sealContext(p.ID, c.ID))
	}
	p.Credentials = append(p.Credentials, c)
}

func (d *desk) peer(ip string) *envelope.Peer {
	return &envelope.Peer{Session: "s1", Door: envelope.Submission, Addr: netip.AddrPortFrom(netip.MustParseAddr(ip), 4711), TLS: d.tls[0]}
}

// elsewhere is a peer in a network that nobody came from yet, where nothing
// is slowed.
func (d *desk) elsewhere() *envelope.Peer {
	d.networks++
	return d.peer(fmt.Sprintf("10.%d.%d.1", d.networks/256, d.networks%256))
}

// client plays one mechanism: it is given challenges, nil first, and returns
// responses.
type client func(challenge []byte) []byte

func plain(authzid, login, password string) client {
	return func([]byte) []byte { return []byte(authzid + "\x00" + login + "\x00" + password) }
}

func login(login, password string) client {
	return func(challenge []byte) []byte {
		if string(challenge) == "Password:" {
			return []byte(password)
		}
		return []byte(login)
	}
}

// scramClient is a real one. It stops the test if the server does not prove
// itself.
func (d *desk) scramClient(login, password, authzid string, plus bool) client {
	d.t.Helper()
	c, err := scram.SHA256.NewClient(login, password, authzid)
	if err != nil {
		d.t.Fatal(err)
	}
	conv := c.NewConversation()
	if plus {
		cb, err := scram.NewTLSExporterBinding(d.tls[1])
		if err != nil {
			d.t.Fatal(err)
		}
		conv = c.NewConversationWithChannelBinding(cb)
	}
	return func(challenge []byte) []byte {
		if conv.Done() {
			d.t.Error("asked after the end")
		}
		out, err := conv.Step(string(challenge))
		if err != nil {
			d.t.Errorf("the client gave up at %q: %v", challenge, err)
		}
		return []byte(out)
	}
}

// run plays a whole exchange, with or without an initial response.
func (d *desk) run(mechanism string, c client, p *envelope.Peer, initial bool) (account string, err error) {
	d.t.Helper()
	x, err := d.Start(mechanism, p)
	if err != nil {
		return "", err
	}
	var response []byte
	if initial {
		response = c(nil)
	}
	for range 5 {
		challenge, done, err := x.Next(context.Background(), response)
		switch {
		case err != nil && (done || challenge != nil):
			d.t.Errorf("%s: challenge %q, done %v beside the error %v", mechanism, challenge, done, err)
			return "", err
		case err != nil:
			if x.Account() != "" {
				d.t.Errorf("%s: account %q beside the error %v", mechanism, x.Account(), err)
			}
			return "", err
		case done:
			return x.Account(), nil
		case challenge == nil:
			d.t.Fatalf("%s: neither challenge nor end", mechanism)
		case x.Account() != "":
			d.t.Errorf("%s: account %q before the end", mechanism, x.Account())
		}
		response = c(challenge)
	}
	d.t.Fatalf("%s does not end", mechanism)
	return "", nil
}

// clients returns one client of each mechanism.
func (d *desk) clients(login_, password string) map[string]client {
	return map[string]client{
		sasl.Plain:     plain("", login_, password),
		sasl.Login:     login(login_, password),
		sasl.Scram:     d.scramClient(login_, password, "", false),
		sasl.ScramPlus: d.scramClient(login_, password, "", true),
	}
}

func isRefused(err error) bool {
	var e *envelope.Error
	return errors.As(err, &e) && e.Code == 535 && e.Enhanced == "5.7.8" && e.Text == "authentication credentials invalid"
}

func TestEveryMechanismSignsIn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.add(address, password)
	for _, initial := range []bool{true, false} {
		for _, as := range []string{address, "HENRY@Example.ORG"} {
			for mechanism, c := range d.clients(as, password) {
				got, err := d.run(mechanism, c, d.peer("192.0.2.1"), initial)
				if err != nil || got != address {
					t.Errorf("%s as %s: %q, %v", mechanism, as, got, err)
				}
			}
		}
	}
	if n := d.signIns.Load(); n != 16 || d.refused.Load() != 0 {
		t.Errorf("counted %d and %d", n, d.refused.Load())
	}
	if len(d.used) != 16 || d.used[0] != p.Credentials[0].ID {
		t.Errorf("used: %v", d.used)
	}
	if got, err := d.run("plain", plain("", address, password), d.peer("192.0.2.1"), true); got != address {
		t.Errorf("mechanism in lower case: %v", err)
	}
}

func TestAuthzID(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.add(address, password)
	d.add("victim@example.org", password)
	for authzid, ok := range map[string]bool{"": true, address: true, "Henry@example.ORG": true, "victim@example.org": false, "henry": false, "henry+x@example.org": false} {
		for mechanism, c := range map[string]client{
			sasl.Plain: plain(authzid, address, password),
			sasl.Scram: d.scramClient(address, password, authzid, false),
		} {
			got, err := d.run(mechanism, c, d.elsewhere(), true)
			if ok && got != address || !ok && !isRefused(err) {
				t.Errorf("%s as %q: %q, %v", mechanism, authzid, got, err)
			}
		}
	}
}

// Wrong, empty and malformed credentials, for each mechanism, for accounts
// with every kind of stored state: one answer, and for PLAIN and LOGIN one
// Argon2id run, whoever is asked for.
func TestEveryFailureLooksTheSame(t *testing.T) {
	t.Parallel()
	states := map[string]func(*desk) string{ // return the right password, if there is one
		"unknown":        func(d *desk) string { return "" },
		"known":          func(d *desk) string { d.add(address, password); return "" },
		"frozen":         func(d *desk) string { d.add(address, password).Frozen = true; return password },
		"no credentials": func(d *desk) string { d.add(address, ""); return "" },
		"device only":    func(d *desk) string { d.addDevice(d.add(address, "")); return "" },
		"device damaged": func(d *desk) string {
			p := d.add(address, "")
			pw := d.addDevice(p)
			p.Credentials[0].SHA256, p.Credentials[0].Scram = nil, []byte("damaged")
			return pw
		},
	}
	for name, hash := range map[string]string{
		"empty hash": "", "cut hash": "$argon2id$v=19$m=64,t=1,p=1$", "no hash": "correct horse battery",
		"huge hash": "$argon2id$v=19$m=4294967295,t=1,p=1$AAAAAAAAAAA$" + strings.Repeat("A", 43),
		"no sum":    "$argon2id$v=19$m=64,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$",
	} {
		states[name] = func(d *desk) string {
			p := d.add(address, password)
			p.Credentials[0].Argon2, p.Credentials[0].Scram = hash, p.Credentials[0].Scram[1:]
			return password
		}
	}
	for state, prepare := range states {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			right := prepare(d)
			try := func(what, mechanism string, c client, hashed int64) {
				t.Helper()
				before := d.hashes.Load()
				got, err := d.run(mechanism, c, d.elsewhere(), true)
				if got != "" || !isRefused(err) {
					t.Errorf("%s %s: %q, %v", mechanism, what, got, err)
				}
				if n := d.hashes.Load() - before; n != hashed {
					t.Errorf("%s %s: %d Argon2id runs instead of %d", mechanism, what, n, hashed)
				}
			}
			tries := map[string]string{"wrong": "wrong password"}
			if right != "" {
				tries["right"] = right
			}
			for what, pw := range tries {
				try(what, sasl.Plain, plain("", address, pw), 1)
				try(what, sasl.Login, login(address, pw), 1)
				try(what, sasl.Scram, d.scramClient(address, pw, "", false), 0)
				try(what, sasl.ScramPlus, d.scramClient(address, pw, "", true), 0)
			}
			for _, m := range []string{"", "\x00", "\x00\x00", "\x00" + address + "\x00", address, "\x00" + address + "\x00x\x00y"} {
				try("malformed", sasl.Plain, func([]byte) []byte { return []byte(m) }, 0)
			}
			for _, pw := range []string{"", "\x00", "a\x00b", "\xff"} {
				try("malformed", sasl.Login, login(address, pw), 0)
			}
			for _, m := range []string{"", "n,,", "n,,n=,r=", "x"} {
				try("malformed", sasl.Scram, func([]byte) []byte { return []byte(m) }, 0)
				try("malformed", sasl.ScramPlus, func([]byte) []byte { return []byte(m) }, 0)
			}
			// Not even hashed: it cannot be anybody's.
			try("unprepared", sasl.Plain, plain("", address, "emoji \U0001F40E"), 0)
			try("huge", sasl.Plain, plain("", address, strings.Repeat("x", secret.MaxOctets+1)), 0)
		})
	}
}

// What SCRAM shows of a login does not tell whether it exists: the salt is
// stable, as long for one as for the other, without case, and the same after
// the account was made.
func TestScramSaltTellsNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.people[addr.MustParse("known@example.org")] = nil
	challenge := func(login string) string {
		t.Helper()
		x, err := d.Start(sasl.Scram, d.peer("192.0.2.1"))
		if err != nil {
			t.Fatal(err)
		}
		c, done, err := x.Next(context.Background(), []byte("n,,n="+login+",r=abc"))
		if err != nil || done {
			t.Fatalf("%s: %v", login, err)
		}
		nonce, rest, _ := strings.Cut(string(c), ",")
		if !strings.HasPrefix(nonce, "r=abc") || len(nonce) != len("r=abc")+base64.StdEncoding.EncodedLen(24) {
			t.Errorf("%s: %q", login, c)
		}
		return rest
	}
	before := challenge("new@example.org")
	if again := challenge("NEW@example.org"); again != before {
		t.Errorf("not stable: %s, %s", before, again)
	}
	if other := challenge("other@example.org"); other == before || len(other) != len(before) {
		t.Errorf("another name: %s, %s", before, other)
	}
	p := d.add("new@example.org", "")
	p.Iterations = secret.ScramIterations
	d.addDevice(p)
	if after := challenge("new@example.org"); after != before {
		t.Errorf("making the account shows: %s, %s", before, after)
	}
	if odd := challenge("no address at all"); len(odd) != len(before) {
		t.Errorf("a login that is no address: %s", odd)
	}
}

// An attacker who strips PLUS from what we offer is found out: the client
// says that it could have bound.
func TestDowngradeIsRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.add(address, password)
	c, err := scram.SHA256.NewClient(address, password, "")
	if err != nil {
		t.Fatal(err)
	}
	conv := c.NewConversationAdvertisingChannelBinding()
	if _, err := d.run(sasl.Scram, func(c []byte) []byte { s, _ := conv.Step(string(c)); return []byte(s) }, d.elsewhere(), true); !isRefused(err) {
		t.Errorf("y although PLUS was offered: %v", err)
	}
	if !strings.Contains(d.log.String(), `msg="channel binding mismatch"`) {
		t.Errorf("log:\n%s", d.log.String())
	}
	// And over TLS 1.2, where it is not, it is no attack.
	p := d.elsewhere()
	p.TLS, _ = handshake(t, d.o.Keys, tls.VersionTLS12)
	if m := d.Mechanisms(p.TLS); slices.Contains(m, sasl.ScramPlus) {
		t.Errorf("TLS 1.2 offers %v", m)
	}
	conv = c.NewConversationAdvertisingChannelBinding()
	if got, err := d.run(sasl.Scram, func(c []byte) []byte { s, _ := conv.Step(string(c)); return []byte(s) }, p, true); got != address {
		t.Errorf("y over TLS 1.2: %v", err)
	}
}

// Somebody in between has a connection to each side, with different keys.
func TestPlusIsBoundToTheConnection(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.add(address, password)
	_, d.tls[1] = handshake(t, d.o.Keys, tls.VersionTLS13)
	for _, mechanism := range []string{sasl.ScramPlus, sasl.Scram} {
		if _, err := d.run(mechanism, d.scramClient(address, password, "", true), d.elsewhere(), true); !isRefused(err) {
			t.Errorf("%s bound to another connection: %v", mechanism, err)
		}
	}
	if _, err := d.run(sasl.ScramPlus, d.scramClient(address, password, "", false), d.elsewhere(), true); !isRefused(err) {
		t.Errorf("PLUS without a binding: %v", err)
	}
}

func TestStartNeedsTLSAndAMechanism(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	code := func(mechanism string, state *tls.ConnectionState) int {
		p := d.peer("192.0.2.1")
		p.TLS = state
		_, err := d.Start(mechanism, p)
		var e *envelope.Error
		if !errors.As(err, &e) {
			return 0
		}
		return e.Code
	}
	old := *d.tls[0]
	old.Version = tls.VersionTLS11
	for _, m := range []string{sasl.Plain, sasl.Login, sasl.Scram, sasl.ScramPlus, "CRAM-MD5"} {
		if got := code(m, nil); got != 538 {
			t.Errorf("%s without TLS: %d", m, got)
		}
		if got := code(m, &old); got != 538 {
			t.Errorf("%s over TLS 1.1: %d", m, got)
		}
	}
	for _, m := range []string{"", "CRAM-MD5", "SCRAM-SHA-1", "EXTERNAL", "ANONYMOUS", "PLAIN "} {
		if got := code(m, d.tls[0]); got != 504 {
			t.Errorf("%q: %d", m, got)
		}
	}
	if want := []string{sasl.ScramPlus, sasl.Scram, sasl.Plain, sasl.Login}; !slices.Equal(d.Mechanisms(d.tls[0]), want) {
		t.Errorf("offered: %v", d.Mechanisms(d.tls[0]))
	}
}

func TestSeveralCredentials(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.add(address, password)
	phone, laptop := d.addDevice(p), d.addDevice(p)
	for i, pw := range []string{password, phone, laptop} {
		for mechanism, c := range d.clients(address, pw) {
			d.used = nil
			got, err := d.run(mechanism, c, d.peer("192.0.2.1"), true)
			if got != address || len(d.used) != 1 || d.used[0] != p.Credentials[i].ID {
				t.Errorf("%s with credential %d: %q, %v, used %v", mechanism, i, got, err, d.used)
			}
		}
	}
	if n := d.hashes.Load(); n != 1 {
		t.Errorf("%d Argon2id runs: device passwords need none, the other is remembered", n)
	}
	p.Credentials = p.Credentials[:2] // the laptop is taken away
	for mechanism, c := range d.clients(address, laptop) {
		if _, err := d.run(mechanism, c, d.elsewhere(), true); !isRefused(err) {
			t.Errorf("%s with a password that was taken away: %v", mechanism, err)
		}
	}
}

func TestScramForPasswordsOff(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(o *Options) { o.ScramForPasswords = false })
	p := d.add(address, password)
	if len(p.Credentials[0].Scram) != 0 {
		t.Error("SCRAM keys of a password were kept")
	}
	phone := d.addDevice(p)
	for mechanism, want := range map[string][2]bool{sasl.Plain: {true, true}, sasl.Login: {true, true}, sasl.Scram: {false, true}, sasl.ScramPlus: {false, true}} {
		for i, pw := range []string{password, phone} {
			_, err := d.run(mechanism, d.clients(address, pw)[mechanism], d.elsewhere(), true)
			if (err == nil) != want[i] {
				t.Errorf("%s with credential %d: %v", mechanism, i, err)
			}
		}
	}
	// Keys from when it was on are not accepted either.
	on := newDesk(t)
	on.add(address, password)
	on.o.ScramForPasswords = false
	if _, err := on.run(sasl.Scram, on.scramClient(address, password, "", false), on.elsewhere(), true); !isRefused(err) {
		t.Errorf("SCRAM with keys from before: %v", err)
	}
}

// Sealed keys belong to their row: whoever can write to the store cannot give
// the victim the keys of a password that they know.
func TestScramKeysCannotBeMoved(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	mine := d.add("attacker@example.org", "known to me")
	victim := d.add(address, password)
	victim.Credentials[0].Scram, victim.Salt = mine.Credentials[0].Scram, mine.Salt
	if _, err := d.run(sasl.Scram, d.scramClient(address, "known to me", "", false), d.elsewhere(), true); !isRefused(err) {
		t.Errorf("%v", err)
	}
	if !strings.Contains(d.log.String(), "cannot be used") {
		t.Error("nothing was logged of keys that cannot be used")
	}
}

func TestVerifiedIsRemembered(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.add(address, password)
	try := func(ip, pw string, ok bool, hashed int64, what string) {
		t.Helper()
		before := d.hashes.Load()
		_, err := d.run(sasl.Plain, plain("", address, pw), d.peer(ip), true)
		if (err == nil) != ok {
			t.Errorf("%s: %v", what, err)
		}
		if n := d.hashes.Load() - before; n != hashed {
			t.Errorf("%s: %d Argon2id runs instead of %d", what, n, hashed)
		}
	}
	try("192.0.2.1", password, true, 1, "first")
	try("192.0.2.1", password, true, 0, "again")
	try("192.0.2.99", password, true, 0, "the same network")
	try("192.0.3.1", password, true, 1, "another network")
	try("192.0.2.1", "wrong password", false, 1, "a wrong password beside a remembered one")
	try("192.0.2.1", "wrong password", false, 1, "failures are not remembered")
	d.clock.Advance(verifiedFor - time.Second)
	try("192.0.2.1", password, true, 0, "just before the end")
	d.clock.Advance(time.Second)
	try("192.0.2.1", password, true, 1, "after five minutes, used or not")
	d.Forget([]int64{p.ID + 1})
	try("192.0.2.1", password, true, 0, "another account changed")
	d.Forget([]int64{p.ID})
	try("192.0.2.1", password, true, 1, "the account changed")
	p.Frozen = true
	d.Forget([]int64{p.ID})
	try("192.0.2.1", password, false, 1, "frozen")
	try("192.0.2.1", password, false, 1, "frozen, again")
	p.Frozen = false
	d.Forget([]int64{p.ID})
	try("192.0.2.1", password, true, 1, "nothing is remembered of a frozen one")
}

// A client that opens many connections at once costs one run.
func TestManyAtOnceAreVerifiedOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.add(address, password)
	d.hasher = secret.NewHasher(secret.Cost{Time: 1, Memory: 64, Lanes: 1}, turn.New(d.clock, 1), rand.Reader, &d.hashes)
	var all sync.WaitGroup
	before := d.hashes.Load()
	for range 20 {
		all.Go(func() {
			if c, err := d.verify(context.Background(), &claim{person: p}, password, somewhere); c == nil || err != nil {
				t.Errorf("%v, %v", c, err)
			}
		})
	}
	all.Wait()
	if n := d.hashes.Load() - before; n != 1 {
		t.Errorf("%d runs", n)
	}
}

// A change after an account was looked up: the old password, whose hash is
// still in hand, is not remembered.
func TestChangeWhileHashing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.add(address, password)
	c := claim{person: p, as: d.verified.now()}
	d.Forget([]int64{p.ID})
	if found, err := d.verify(context.Background(), &c, password, somewhere); found == nil || err != nil {
		t.Fatalf("%v, %v", found, err)
	}
	if d.verified.get(d.verified.token(p.ID, somewhere.Network, password)) != nil {
		t.Error("remembered although the account changed meanwhile")
	}
}

// The delay comes before the credential is looked at, remembered or not, and
// does not keep the owner out.
func TestGuessingIsSlowed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.add(address, password)
	run := func(ip string, c client, mechanism string) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := d.run(mechanism, c, d.peer(ip), true)
			done <- err
		}()
		return done
	}
	if err := <-run("192.0.2.1", plain("", address, password), sasl.Plain); err != nil { // remembered from here on
		t.Fatal(err)
	}
	for range 3 {
		if err := <-run("192.0.2.1", plain("", address, "wrong password"), sasl.Plain); !isRefused(err) {
			t.Fatal(err)
		}
	}
	for _, mechanism := range []string{sasl.Scram, sasl.Plain} { // PLAIN last: success ends the delay
		if mechanism == sasl.Plain { // the owner has a program that speaks SCRAM by now, which counts for itself
			for range 3 {
				if err := <-run("192.0.2.1", d.scramClient(address, "wrong password", "", false), sasl.Scram); !isRefused(err) {
					t.Fatal(err)
				}
			}
			if err := <-waited(t, d, run("192.0.2.1", d.scramClient(address, "wrong password", "", false), sasl.Scram)); !isRefused(err) {
				t.Errorf("SCRAM: %v", err)
			}
		}
		done := run("198.51.100.1", d.clients(address, password)[mechanism], mechanism)
		if err := <-done; err != nil {
			t.Errorf("%s from home: %v", mechanism, err)
		}
	}
	if err := <-waited(t, d, run("192.0.2.1", plain("", address, password), sasl.Plain)); err != nil {
		t.Errorf("the owner beside the attacker: %v", err)
	}
	if err := <-run("192.0.2.1", plain("", address, password), sasl.Plain); err != nil {
		t.Errorf("the owner, once more: %v", err)
	}
}

// The right password of a frozen account is slowed like a wrong one, and a
// client that goes away while it waits is let go.
func TestFrozenIsSlowedAlike(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.add(address, password).Frozen = true
	for _, pw := range []string{password, "wrong password"} {
		from := d.elsewhere()
		for range 3 {
			if _, err := d.run(sasl.Plain, plain("", address, pw), from, true); !isRefused(err) {
				t.Fatal(err)
			}
		}
		x, err := d.Start(sasl.Plain, from)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			_, _, err := x.Next(ctx, []byte("\x00"+address+"\x00"+pw))
			done <- err
		}()
		for d.clock.Pending() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		var e *envelope.Error
		if err := <-done; !errors.As(err, &e) || e.Code != 454 || d.clock.Pending() != 0 {
			t.Errorf("%v, %d timers", err, d.clock.Pending())
		}
	}
}

// waited fails if done comes before the clock was moved.
func waited(t *testing.T, d *desk, done <-chan error) <-chan error {
	t.Helper()
	for d.clock.Pending() == 0 {
		select {
		case err := <-done:
			t.Errorf("not slowed: %v", err)
			c := make(chan error, 1)
			c <- err
			return c
		case <-time.After(time.Millisecond):
		}
	}
	d.clock.Advance(10 * time.Second)
	return done
}

func TestBusyIsTemporary(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.add(address, password)
	d.hasher = secret.NewHasher(secret.Cost{}, turn.New(d.clock, 0), rand.Reader, &d.hashes) // no place to hash in
	_, err := d.run(sasl.Plain, plain("", address, password), d.peer("192.0.2.1"), true)
	var e *envelope.Error
	if !errors.As(err, &e) || e.Code != 454 || e.Enhanced != "4.7.0" {
		t.Errorf("%v", err)
	}
	if d.refused.Load() != 0 {
		t.Error("counted as a refusal")
	}
}

func TestExchangeAfterItsEnd(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.add(address, password)
	good := []byte("\x00" + address + "\x00" + password)
	for _, first := range [][]byte{good, []byte("nonsense")} {
		x, err := d.Start(sasl.Plain, d.peer("192.0.2.1"))
		if err != nil {
			t.Fatal(err)
		}
		x.Next(context.Background(), first)
		if _, done, err := x.Next(context.Background(), good); done || !isRefused(err) {
			t.Errorf("after %q: done %v, %v", first, done, err)
		}
	}
	// The acknowledgement of SCRAM is empty.
	x, err := d.Start(sasl.Scram, d.peer("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	c := d.scramClient(address, password, "", false)
	var challenge []byte
	for range 2 {
		if challenge, _, err = x.Next(context.Background(), c(challenge)); err != nil {
			t.Fatal(err)
		}
	}
	if _, done, err := x.Next(context.Background(), []byte("x")); done || !isRefused(err) || x.Account() != "" {
		t.Errorf("done %v, %v, %q", done, err, x.Account())
	}
}

// Nothing secret reaches the log, and nothing of what was typed as the name
// of nobody.
func TestLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.add(address, password)
	for _, c := range []map[string]client{d.clients(address, password), d.clients(address, "wr0ng-secret"), d.clients("typ0-secret", "wr0ng-secret")} {
		for mechanism, c := range c {
			d.run(mechanism, c, d.elsewhere(), true)
		}
	}
	d.run(sasl.Scram, func([]byte) []byte { return []byte("n,,n=bad=secret,r=x") }, d.peer("192.0.2.1"), true)
	log := d.log.String()
	for _, s := range []string{password, "wr0ng", "typ0", "bad=secret", base64.StdEncoding.EncodeToString([]byte(password))} {
		if strings.Contains(log, s) {
			t.Errorf("%q is in the log:\n%s", s, log)
		}
	}
	for _, s := range []string{`msg="signed in"`, "account=" + address, "mechanism=PLAIN", "client=10.0.1.1", "session=s1",
		`reason="wrong credential"`, `reason="wrong proof"`, `reason="no such account"`, `reason="malformed message"`} {
		if !strings.Contains(log, s) {
			t.Errorf("%q is not in the log:\n%s", s, log)
		}
	}
}

func BenchmarkPlainRemembered(b *testing.B) {
	d := newDesk(b, func(o *Options) { o.Log = slog.New(slog.DiscardHandler) })
	d.add(address, password)
	p := d.peer("192.0.2.1")
	response := []byte("\x00" + address + "\x00" + password)
	b.ReportAllocs()
	for b.Loop() {
		x, err := d.Start(sasl.Plain, p)
		if err != nil {
			b.Fatal(err)
		}
		if _, done, err := x.Next(context.Background(), response); !done {
			b.Fatal(err)
		}
		d.used = d.used[:0]
	}
}

// BenchmarkScram measures the server's side of whole exchanges: the client's
// messages are computed with the clock stopped.
func BenchmarkScram(b *testing.B) {
	d := newDesk(b, func(o *Options) { o.Log = slog.New(slog.DiscardHandler) })
	d.add(address, password)
	c, err := scram.SHA256.NewClient(address, password, "")
	if err != nil {
		b.Fatal(err)
	}
	p := d.peer("192.0.2.1")
	ctx := context.Background()
	b.ReportAllocs()
	for range b.N {
		b.StopTimer()
		conv := c.NewConversation()
		first, _ := conv.Step("")
		b.StartTimer()
		x, err := d.Start(sasl.Scram, p)
		if err != nil {
			b.Fatal(err)
		}
		answer, _, err := x.Next(ctx, []byte(first))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		final, _ := conv.Step(string(answer))
		b.StartTimer()
		if _, _, err = x.Next(ctx, []byte(final)); err != nil {
			b.Fatal(err)
		}
		if _, done, err := x.Next(ctx, nil); !done {
			b.Fatal(err)
		}
		d.used = d.used[:0]
	}
}

// What people review says what happened and holds no secret either.
func TestTold(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	p := d.add(address, password)
	phone := d.addDevice(p)
	run := func(c client, mechanism string) { d.run(mechanism, c, d.elsewhere(), true) }
	run(plain("", address, password), sasl.Plain)
	run(d.scramClient(address, phone, "", true), sasl.ScramPlus)
	run(plain("", address, "wr0ng-secret"), sasl.Plain)
	run(d.scramClient(address, "wr0ng-secret", "", false), sasl.Scram)
	run(plain("", "typ0-secret", "wr0ng-secret"), sasl.Plain)
	run(plain("victim@example.org", address, password), sasl.Plain)
	run(func([]byte) []byte { return []byte("n,,n=bad=secret,r=x") }, sasl.Scram)
	p.Frozen = true
	run(plain("", address, password), sasl.Plain)
	var got []string
	for _, e := range d.tried {
		if e.Client.Version != tls.VersionTLS13 || e.Client.Group == 0 || !e.Client.Address.IsValid() || (e.Owner == 0) != (e.Account == "") {
			t.Errorf("%+v", e)
		}
		got = append(got, strings.Join([]string{string(e.Outcome), e.Account, e.Mechanism, e.Credential, e.Detail}, "|"))
	}
	want := []string{
		"done|" + address + "|PLAIN|password|",
		"done|" + address + "|SCRAM-SHA-256-PLUS|device phone|",
		"refused|" + address + "|PLAIN||wrong password",
		"refused|" + address + "|SCRAM-SHA-256||wrong password",
		"refused||PLAIN||there is no such account",
		"refused|" + address + "|PLAIN||it asked to act as somebody else",
		"refused||SCRAM-SHA-256||it made no sense",
		"refused|" + address + "|PLAIN||the account is frozen",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
