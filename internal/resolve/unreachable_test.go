package resolve

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"gatepost/internal/clock"
)

// Whose fault a failure is decides whether mail waits or is taken unverified.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	silent := func(string, *dns.Msg) ([][]byte, error) { return nil, nil }
	down := func(string, *dns.Msg) ([][]byte, error) { return nil, refused }
	good := replies(t, zone, nil)
	// lame answers for all but one name.
	lame := func(network string, q *dns.Msg) ([][]byte, error) {
		if q != nil && q.Question[0].Name == "mx1.example." {
			return nil, nil
		}
		return good(network, q)
	}
	for _, c := range []struct {
		name   string
		server answerer
		other  string        // a name that is looked up too
		after  time.Duration // from then to the question, or the other way round
		ours   bool
	}{
		{"nothing listens", down, "", 0, true},
		{"silence", silent, "", 0, true},
		{"it will not work for us", replies(t, zone, rcode(dns.RcodeRefused)), "", 0, true},
		{"SERVFAIL", replies(t, zone, rcode(dns.RcodeServerFailure)), "", 0, false},
		{"silence, but others are answered", lame, "mx2.example", -time.Second, false},
		{"silence, and others were answered", lame, "mx2.example", lately - time.Second, false},
		{"silence for long", lame, "mx2.example", lately + time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := (&network{t: t, servers: map[string]answerer{far.String(): c.server}}).client(clock.System)
				switch {
				case c.after > 0:
					client.Lookup(t.Context(), c.other, dns.TypeA)
					time.Sleep(c.after)
				case c.after < 0:
					go func() {
						time.Sleep(-c.after)
						client.Lookup(t.Context(), c.other, dns.TypeA)
					}()
				}
				_, err := client.Lookup(t.Context(), "mx1.example", dns.TypeA)
				if !errors.Is(err, ErrTemporary) || errors.Is(err, ErrUnreachable) != c.ours {
					t.Errorf("%v", err)
				}
			})
		})
	}
}
