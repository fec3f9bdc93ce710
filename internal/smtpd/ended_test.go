package smtpd

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/envelope"
)

// signIn returns a client that has signed in, over a real connection.
func (s *site) signIn(t *testing.T) *client {
	t.Helper()
	k := s.dial(t, true)
	k.expect("220")
	k.say("EHLO client.test", "250")
	k.say("AUTH PLAIN "+right, "235")
	return k
}

// goodbye reads the last reply and the end behind it.
func (c *client) goodbye() {
	c.t.Helper()
	if r := c.expect("421 4.7.0"); !strings.Contains(r.Text, "has ended") {
		c.t.Errorf("%+v", r)
	}
	if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Errorf("after the goodbye: %v", err)
	}
}

// A credential is taken away while sessions stand where they may stand.
func TestEnd(t *testing.T) {
	t.Parallel()
	for name, ready := range map[string]func(*client){
		"idle":           func(*client) {},
		"in transaction": func(k *client) { k.say("MAIL FROM:<a@b>", "250"); k.say("RCPT TO:<a@b>", "250") },
		"in DATA": func(k *client) {
			k.say("MAIL FROM:<a@b>", "250")
			k.say("RCPT TO:<a@b>", "250")
			k.say("DATA", "354")
			k.send("Subject: half\r\n\r\nhalf of a mes")
		},
		"in a chunk": func(k *client) {
			k.say("MAIL FROM:<a@b>", "250")
			k.say("RCPT TO:<a@b>", "250")
			k.send("BDAT 1000 LAST\r\nSubject: half\r\n\r\n")
		},
		"within a command": func(k *client) { k.send("MAIL FR") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(envelope.Submission, nil)
			k, other := s.signIn(t), s.signIn(t)
			unknown := s.dial(t, true)
			unknown.expect("220")
			unknown.say("EHLO x", "250")
			ready(k)
			s.End("user@testserver", 6)
			s.End("somebody@else", 7)
			other.say("NOOP", "250")
			begun := time.Now()
			s.End("user@testserver", 7)
			k.goodbye()
			other.goodbye()
			if took := time.Since(begun); took > time.Second {
				t.Errorf("it took %s", took)
			}
			unknown.say("NOOP", "250")
			if got := s.store.all(); len(got) != 0 {
				t.Errorf("taken: %+v", got)
			}
		})
	}
}

// All of an account end, whatever they signed in with, and nothing stays of
// those that are over.
func TestEndOfAnAccount(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.Submission, nil)
	a, b := s.signIn(t), s.signIn(t)
	s.End("user@testserver", 0)
	a.goodbye()
	b.goodbye()
	for left := -1; left != 0; {
		s.mu.Lock()
		left = len(s.signed)
		s.mu.Unlock()
	}
}

// What came in the read before the end is not obeyed, and a message that has
// come whole is not taken; one that was acknowledged stays.
func TestEndBetween(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.Submission, nil)
	k := s.signIn(t)
	const whole = "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n"
	k.send(whole)
	k.expect("250", "250", "354")
	k.send("Subject: first\r\n\r\nx\r\n.\r\n")
	k.expect("250")
	k.send(whole)
	k.expect("250", "250", "354")
	s.rules.data = func(*envelope.Envelope) error { s.End("user@testserver", 7); return nil }
	k.send("Subject: second\r\n\r\nx\r\n.\r\nMAIL FROM:<a@b>\r\n")
	k.goodbye()
	if got := s.store.all(); len(got) != 1 || !strings.Contains(got[0].content, "first") {
		t.Errorf("%+v", got)
	}
}

// A client that does not read is cut off.
func TestEndOfTheDeaf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(envelope.Submission, nil)
		s.pipe(t) // and never reads the greeting
		synctest.Wait()
		s.mu.Lock()
		for n := range s.sessions {
			s.signed[n] = grant{"user@testserver", 7}
		}
		s.mu.Unlock()
		s.End("user@testserver", 7)
		synctest.Wait()
		if s.Counters.Open.Load() != 1 {
			t.Error("it was not given the time to say goodbye")
		}
		time.Sleep(endTime)
		synctest.Wait()
		if s.Counters.Open.Load() != 0 {
			t.Error("it goes on")
		}
	})
}

// Its end came while the client signed in, and nobody was told of the session
// then.
func TestEndedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.Submission, func(o *Options) { o.Auth = users{gone: true} })
	k := s.dial(t, true)
	k.expect("220")
	k.say("EHLO client.test", "250")
	k.send("AUTH PLAIN " + right + "\r\n")
	k.goodbye()
}

// A session does not outlive what was signed in with.
func TestOutlived(t *testing.T) {
	t.Parallel()
	s := newSite(envelope.Submission, func(o *Options) { o.Auth = users{until: time.Now().Add(300 * time.Millisecond)} })
	k := s.signIn(t)
	k.goodbye()
}
