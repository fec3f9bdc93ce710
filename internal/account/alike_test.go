package account

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatepost/internal/account/terms"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// cost is everything that one attempt makes the server do, and what it
// answers.
type cost struct {
	hashes, reads int64
	waited        time.Duration
	reply         string
}

// attempt makes one attempt with the clock in hand, and returns what it cost.
func (h *house) attempt(try func() error) (c cost) {
	hashes, reads, began := h.Counters.Hashes.Load(), h.Counters.Reads.Load(), h.clock.Now()
	done := make(chan error, 1)
	go func() { done <- try() }()
	for {
		select {
		case err := <-done:
			var e *envelope.Error
			if errors.As(err, &e) {
				c.reply = e.Reply.Error()
			}
			c.hashes, c.reads, c.waited = h.Counters.Hashes.Load()-hashes, h.Counters.Reads.Load()-reads, h.clock.Now().Sub(began)
			return c
		case <-time.After(time.Millisecond):
			if h.clock.Pending() > 0 {
				h.clock.Advance(100 * time.Millisecond)
			}
		}
	}
}

// scramWrong is the last message of a client whose proof is wrong.
var scramWrong = "c=biws,r=%s,p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))

// say plays the words of one mechanism, and returns the refusal.
func (h *house) say(p envelope.Peer, words []string) error {
	x, err := h.Start(words[0], &p)
	if err != nil {
		return err
	}
	var challenge []byte
	for _, w := range words[1:] {
		if _, nonce, ok := strings.Cut(string(challenge), "r="); ok {
			nonce, _, _ = strings.Cut(nonce, ",")
			w = fmt.Sprintf(w, nonce)
		}
		if challenge, _, err = x.Next(ctx, []byte(w)); err != nil {
			return err
		}
	}
	return nil
}

// For whoever does not know a password, a name that exists and one that does
// not are the same: by words, hashes, look-ups and delays, from one network,
// from many, by every mechanism, whatever the account has, and after its owner
// was there. What is compared is the whole course of an attack.
func TestKnownAndUnknownNamesAreAlike(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org", "example.net")
	h.accounts("plain@example.org", "device@example.org", "frozen@example.org", "used@example.org")
	if _, _, err := h.AddDevice(ctx, addr.MustParse("device@example.org"), "phone", terms.Terms{Scope: terms.Both}); err != nil {
		t.Fatal(err)
	}
	if err := h.Freeze(ctx, addr.MustParse("frozen@example.org")); err != nil {
		t.Fatal(err)
	}
	if got, err := h.signIn("used@example.org", password, "203.0.113.1"); got == "" {
		t.Fatal(err)
	}
	h.changed(nil)                                    // nothing is remembered of any name,
	h.signIn("x@example.net", "wrong", "203.0.113.2") // but of the domains,
	h.clock.Advance(time.Minute)                      // and nothing else goes on
	names := []string{"plain", "device", "frozen", "used", "nobody", "no.such.person", "x"}
	courses := map[string]string{}
	session := *h.session("203.0.113.2")
	for i, name := range names {
		login := name + "@example.org"
		var course []cost
		for n := range 8 {
			ip := fmt.Sprintf("10.%d.0.1", i) // each name has its attackers, who are alike too
			if n%3 == 2 {
				ip = fmt.Sprintf("10.%d.%d.1", i, n)
			}
			session.Addr = netip.AddrPortFrom(netip.MustParseAddr(ip), 1)
			for _, words := range [][]string{{"PLAIN", "\x00" + login + "\x00wrong"}, {"LOGIN", login, "wrong"}, {"SCRAM-SHA-256", "n,,n=" + login + ",r=abc", scramWrong}} {
				course = append(course, h.attempt(func() error { return h.say(session, words) }))
			}
		}
		courses[name] = fmt.Sprint(course)
	}
	for _, name := range names[1:] {
		if courses[name] != courses[names[0]] {
			t.Errorf("%s:\n%s\n%s:\n%s", names[0], courses[names[0]], name, courses[name])
		}
	}
	// It is no comparison of nothing: there were hashes, look-ups and delays.
	for _, some := range []string{"{1 1 ", "{1 0 ", "{0 0 ", " 500000000 ", " 10000000000 ", "535 5.7.8"} {
		if !strings.Contains(courses["nobody"], some) {
			t.Errorf("%q is not in %s", some, courses["nobody"])
		}
	}
}
