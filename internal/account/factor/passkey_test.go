package factor

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"gatepost/internal/account/factor/factortest"
	"gatepost/internal/clock"
)

func newParty(t testing.TB) (*Party, *clock.Fake) {
	t.Helper()
	c := clock.NewFake(start)
	p, err := NewParty(PartyOptions{
		Site: "mx.example.net", Origins: []string{"https://mx.example.net"}, Keys: newKeys(t), Clock: c, Random: rand.Reader,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p, c
}

// made is a passkey that was made and accepted.
func made(t testing.TB, p *Party) (*factortest.Device, *Made) {
	t.Helper()
	h := Holder{Account: 7, Name: "anna@example.net"}
	invitation, state, err := p.Invite(h)
	if err != nil {
		t.Fatal(err)
	}
	d := factortest.NewDevice(t, "https://mx.example.net")
	m, err := p.Accept(h, state, d.Make(invitation))
	if err != nil {
		t.Fatal(err)
	}
	return d, m
}

// What was answered is remembered for as long as it would be good, in bounded
// memory, and nothing is let in that could not be.
func TestSpent(t *testing.T) {
	t.Parallel()
	p, c := newParty(t)
	d, m := made(t, p)
	answer := func() error {
		t.Helper()
		question, state, err := p.Ask(7, [][]byte{m.ID})
		if err != nil {
			t.Fatal(err)
		}
		a, err := ReadAnswer(d.Sign(question))
		if err != nil {
			t.Fatal(err)
		}
		m.Counter, err = p.Verify(a, state, 7, m.Check, m.Counter)
		return err
	}
	until := p.o.Clock.Now().Add(askedFor)
	for i := len(p.spent); i < maxSpent; i++ {
		p.spent[fmt.Sprint(i)] = until
	}
	if err := answer(); err != ErrBusy {
		t.Errorf("there is no room, and: %v", err)
	}
	c.Advance(askedFor)
	if err := answer(); err != nil || len(p.spent) != 1 {
		t.Errorf("%v; %d are remembered", err, len(p.spent))
	}
}

// What is kept of a passkey, and the time in which a question may be answered.
func TestVerify(t *testing.T) {
	t.Parallel()
	p, c := newParty(t)
	d, m := made(t, p)
	verify := func(late time.Duration, check []byte) error {
		t.Helper()
		question, state, err := p.Ask(Anybody, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := ReadAnswer(d.Sign(question))
		if err != nil {
			t.Fatal(err)
		}
		c.Advance(late)
		n, err := p.Verify(a, state, 7, check, m.Counter)
		if err == nil {
			m.Counter = n
		}
		return err
	}
	if err := verify(askedFor-time.Second, m.Check); err != nil {
		t.Error(err)
	}
	if err := verify(askedFor, m.Check); err == nil {
		t.Error("answered too late")
	}
	_, other := made(t, p)
	for _, check := range [][]byte{nil, []byte("{}"), []byte("x"), other.Check} {
		if err := verify(0, check); err == nil {
			t.Errorf("verified with %q", check)
		}
	}
	if err := verify(0, m.Check); err != nil {
		t.Error(err)
	}
}

// Nothing that a browser could send breaks us, and nothing is accepted that
// the device did not sign.
func FuzzAnswer(f *testing.F) {
	p, _ := newParty(f)
	d, m := made(f, p)
	question, state, err := p.Ask(7, [][]byte{m.ID})
	if err != nil {
		f.Fatal(err)
	}
	real := d.Sign(question)
	f.Add(real)
	f.Add([]byte(`{"id":"","rawId":"","type":"public-key","response":{}}`))
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"AA","signature":"AA","userHandle":"AA"}}`))
	f.Fuzz(func(t *testing.T, response []byte) {
		a, err := ReadAnswer(response)
		if err != nil {
			return
		}
		if len(response) > maxResponse || len(a.ID) == 0 || len(a.ID) > maxHandle {
			t.Errorf("read: %d octets, an id of %d", len(response), len(a.ID))
		}
		if _, err := p.Verify(a, state, 8, m.Check, 0); err == nil {
			t.Error("another account is let in")
		}
	})
}

// The same of what is sent when a passkey is made.
func FuzzAccept(f *testing.F) {
	p, _ := newParty(f)
	h := Holder{Account: 7, Name: "anna@example.net"}
	invitation, state, err := p.Invite(h)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(factortest.NewDevice(f, "https://mx.example.net").Make(invitation))
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","attestationObject":"oA"}}`))
	other := Holder{Account: 8}
	f.Fuzz(func(t *testing.T, response []byte) {
		if _, err := p.Accept(other, state, response); err != ErrBegun {
			t.Errorf("another's: %v", err)
		}
		// An invitation of its own for each, since one is accepted once.
		_, state, err := p.Invite(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Accept(h, state, response); err == nil {
			t.Error("an answer to another invitation is accepted")
		}
	})
}
