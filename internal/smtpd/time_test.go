package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/smtp"
)

// These tests run in bubbles where time passes only while everybody waits.

// since measures how long f takes in the bubble, to the second.
func since(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start).Round(time.Second)
}

// drip sends s again and again at a pace until the connection is closed.
func drip(conn net.Conn, s string, pause time.Duration) {
	for {
		if _, err := conn.Write([]byte(s)); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	inMail := func(k *client) {
		k.hello()
		k.say("MAIL FROM:<a@b>", "250")
		k.say("RCPT TO:<a@b>", "250")
	}
	inData := func(k *client) {
		inMail(k)
		k.say("DATA", "354")
	}
	for _, c := range []struct {
		name  string
		relay bool
		ready func(*client)
		drip  string
		pause time.Duration
		want  time.Duration
	}{
		{"nothing said", false, func(k *client) { k.expect("220") }, "", 0, 2 * time.Minute},
		{"a greeting in drops", false, func(k *client) { k.expect("220") }, "E", time.Second, 2 * time.Minute},
		{"small talk instead of a greeting", false, func(k *client) { k.expect("220"); k.say("NOOP", "250"); time.Sleep(time.Minute); k.say("NOOP", "250") }, "", 0, 2 * time.Minute},
		{"nothing after the greeting", false, func(k *client) { k.hello() }, "", 0, 5 * time.Minute},
		{"a command in drops", false, func(k *client) { k.hello() }, "M", time.Second, 5 * time.Minute},
		{"nothing within a transaction", false, inMail, "", 0, 5 * time.Minute},
		{"silence in a message", false, inData, "", 0, time.Minute}, // the least rate is stricter
		{"silence in a message of a relay", true, inData, "", 0, 3 * time.Minute},
		{"a message in drops", false, inData, "x", 100 * time.Millisecond, time.Minute + 2*time.Second},
		{"a chunk in drops", false, func(k *client) { inMail(k); k.send("BDAT 100000 LAST\r\n") }, "x", 100 * time.Millisecond, time.Minute + 2*time.Second},
		{"a message that is slow but not too slow", false, inData, "a line of 64 octets, a line of 64 octets, a line of 64 octets,\r\n", 200 * time.Millisecond, time.Hour},
		{"a session that never ends", false, func(k *client) {
			k.hello()
			for range 14 {
				time.Sleep(4 * time.Minute)
				k.say("NOOP", "250")
			}
		}, "", 0, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(envelope.MX, func(o *Options) { o.Limits.MessageSize = 1 << 40 })
				s.rules.connect = func(p *envelope.Peer) error { p.Relay = c.relay; return nil }
				k := s.pipe(t)
				var others sync.WaitGroup
				defer others.Wait()
				defer k.conn.Close()
				got := since(func() {
					c.ready(k)
					if c.drip != "" {
						others.Go(func() { drip(k.conn, c.drip, c.pause) })
					}
					k.expect("421 4.4.2")
				})
				k.gone()
				if got != c.want {
					t.Errorf("after %v, want %v", got, c.want)
				}
				if s.Counters.Timeouts.Load() != 1 || s.store.open != 0 {
					t.Errorf("%d timeouts, %d drafts", s.Counters.Timeouts.Load(), s.store.open)
				}
			})
		})
	}
}

// TestRelayHasTime: a relay client is bound by its commands, not by a session.
func TestRelayHasTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(envelope.MX, nil)
		s.rules.connect = func(p *envelope.Peer) error { p.Relay = true; return nil }
		k := s.pipe(t).hello()
		for range 100 {
			time.Sleep(4 * time.Minute)
			k.say("NOOP", "250")
		}
		k.say("QUIT", "221")
		k.gone()
	})
}

// TestClientThatDoesNotRead: replies that nobody takes end the session.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(envelope.MX, nil)
		k := s.pipe(t)
		synctest.Wait()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if n := s.Counters.Open.Load(); n != 0 {
			t.Errorf("%d sessions", n)
		}
		k.conn.Close()
	})
}

func TestHarvesting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(envelope.MX, func(o *Options) { o.Limits.Errors = 100 })
		k := s.pipe(t).hello()
		k.say("MAIL FROM:<a@b>", "250")
		var took []time.Duration
		for range 12 {
			start := time.Now()
			k.say("RCPT TO:<nobody@b>", "550 5.1.1")
			took = append(took, time.Since(start))
		}
		want := "[0s 0s 0s 250ms 500ms 1s 2s 4s 5s 5s 5s 5s]"
		if fmt.Sprint(took) != want {
			t.Errorf("%v, want %s", took, want)
		}
		if got := since(func() { k.say("RCPT TO:<a@b>", "250") }); got != 0 {
			t.Errorf("one that exists took %v", got)
		}
		k.conn.Close()
	})
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(envelope.MX, nil)
		idle, greeted, busy := s.pipe(t), s.pipe(t).hello(), s.pipe(t).hello()
		idle.expect("220")
		busy.say("MAIL FROM:<a@b>", "250")
		synctest.Wait()
		done := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			done <- s.Shutdown(ctx)
		}()
		synctest.Wait()
		for _, k := range []*client{idle, greeted, s.pipe(t)} {
			k.expect("421 4.3.2")
			k.gone()
		}
		busy.say("RCPT TO:<a@b>", "250")
		time.Sleep(5 * time.Second)
		busy.say("DATA", "354")
		time.Sleep(5 * time.Second)
		busy.send("A: b\r\n\r\nhi\r\n.\r\n")
		busy.expect("250 2.0.0", "421 4.3.2")
		busy.gone()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(s.store.all()) != 1 {
			t.Errorf("%d messages", len(s.store.all()))
		}
	})
}

// TestShutdownGivesUp: what does not end in time is cut off, and nothing of
// it was acknowledged.
func TestShutdownGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(envelope.MX, nil)
		k := s.pipe(t).hello()
		k.say("MAIL FROM:<a@b>", "250")
		k.say("RCPT TO:<a@b>", "250")
		k.say("DATA", "354")
		k.send("A: b\r\n\r\nhi\r\n")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		synctest.Wait()
		if len(s.store.all()) != 0 || s.store.open != 0 || s.Counters.Open.Load() != 0 {
			t.Errorf("%d messages, %d drafts, %d sessions", len(s.store.all()), s.store.open, s.Counters.Open.Load())
		}
	})
}

// TestShutdownDuringCommit: a commit that has begun is waited for and
// answered.
func TestShutdownDuringCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(envelope.MX, nil)
		s.store.commit = func() error { time.Sleep(10 * time.Second); return nil }
		k := s.pipe(t).hello()
		k.send("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nBDAT 6 LAST\r\nA: b\r\n")
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		k.expect("250", "250", "250", "421 4.3.2")
		if err := <-done; err != nil {
			t.Error(err)
		}
		k.gone()
	})
}

// TestLongWait: a deadline that passed while the server itself was slow is
// not the client's fault.
func TestLongWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(envelope.MX, nil)
		s.store.commit = func() error { time.Sleep(30 * time.Minute); return nil }
		k := s.pipe(t).hello()
		k.say("MAIL FROM:<a@b>", "250")
		k.say("RCPT TO:<a@b>", "250")
		k.say("DATA", "354")
		k.say("A: b\r\n\r\nhi\r\n.", "250")
		k.say("QUIT", "221")
	})
}

// TestAuthFailures: the third ends the session, however each failed.
func TestAuthFailures(t *testing.T) {
	t.Parallel()
	wrong := "dXNlckB0ZXN0c2VydmVyAHVzZXJAdGVzdHNlcnZlcgB3cm9uZw=="
	for _, steps := range [][][2]string{
		{{"AUTH PLAIN " + wrong, "535 5.7.8"}, {"AUTH PLAIN " + wrong, "535 5.7.8"}, {"AUTH PLAIN " + wrong, "421 4.7.0"}},
		{{"AUTH PLAIN something", "501 5.5.2"}, {"AUTH", "501 5.5.4"}, {"AUTH PLAIN =", "421 4.7.0"}},
		{{"AUTH PLAIN", "334"}, {"*", "501 5.7.0"}, {"AUTH PLAIN", "334"}, {"???", "501 5.5.2"}, {"AUTH PLAIN", "334"}, {strings.Repeat("A", smtp.MaxAuthLine), "421 4.7.0"}},
	} {
		s := newSite(envelope.Submission, nil)
		k := s.dial(t, true).hello()
		for _, step := range steps {
			k.say(step[0], step[1])
		}
		k.gone()
		if s.Counters.SignInFailures.Load() != 3 || s.Counters.SignIns.Load() != 0 {
			t.Errorf("%d failures", s.Counters.SignInFailures.Load())
		}
		if strings.Contains(s.log.String(), wrong) {
			t.Errorf("the log has a credential: %s", s.log)
		}
	}
}
