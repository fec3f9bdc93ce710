package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// stuffers is how many networks guess at one account.
	stuffers = 200
	// ownerWithin is how long an owner waits at most who signs in correctly
	// from a network that the account knows.
	ownerWithin = 2 * time.Second
	// strangerDelay is what is added from anywhere: what a name alone is slowed
	// by, at most. strangerLine is the line of 128 hashes before a stranger, in
	// times of ownerWithin.
	strangerDelay = 4 * time.Second
	strangerLine  = 10
)

// connectFrom is connect to port 465 from an address of its own.
func (s *server) connectFrom(ctx context.Context, ip string) (*client, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(s.ip, "465"))
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	conn = tls.Client(conn, careless)
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	if _, err = c.reply(); err == nil {
		_, err = c.tell("EHLO client.test")
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// owner signs in from an address and returns how long it took, from before
// the connection until the reply.
func (s *server) owner(t *testing.T, ip string) time.Duration {
	t.Helper()
	began := time.Now()
	c, err := s.connectFrom(t.Context(), ip)
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	if reply, err := c.tell("AUTH PLAIN " + plain(s.address(), password)); err != nil || !strings.HasPrefix(reply, "235") {
		t.Fatalf("the owner from %s: %q, %v after %v", ip, reply, err, time.Since(began))
	}
	return time.Since(began)
}

// stuff guesses at an account from many networks at once, each over and over.
func (s *server) stuff(ctx context.Context, all *sync.WaitGroup, networks int) {
	for i := range networks {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				c, err := s.connectFrom(ctx, fmt.Sprintf("127.1.%d.9", i))
				for err == nil {
					_, err = c.tell("AUTH PLAIN " + plain(s.address(), fmt.Sprint("guess ", i, n)))
				}
			}
		})
	}
}

// attack begins one, waits until so many guesses were refused, and returns how
// to end it.
func (s *server) attack(t *testing.T, networks, refused int) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	before := strings.Count(s.log.String(), "sign-in refused")
	s.stuff(ctx, &all, networks)
	await(t, func() string {
		if n := strings.Count(s.log.String(), "sign-in refused") - before; n < refused {
			return fmt.Sprintf("only %d guesses", n)
		}
		return ""
	})
	return func() { cancel(); all.Wait() }
}

// While 200 networks guess at an account, its owner signs in from places where
// he did so before: always within two seconds. From elsewhere it takes longer,
// but not for ever. It is not run beside others, since it is about time.
func TestStuffing(t *testing.T) {
	s := start(t, "stuffing.test", "")
	const places = 5
	home := func(i int) string { return fmt.Sprintf("127.2.%d.1", i) }
	limit := ownerWithin
	for i := range places {
		// A machine that is busy with something else takes longer for
		// everything, and this is not about that.
		limit = max(limit, 6*s.owner(t, home(i)))
	}
	// What the server remembers of right passwords is gone after a start, so
	// that each sign-in is hashed; what is known of places is not.
	if n := len(s.activity()); n < places {
		t.Fatalf("%d events", n)
	}
	s.stop()
	s.serve()

	end := s.attack(t, stuffers, 10)
	for i := range places {
		took := s.owner(t, home(i))
		t.Logf("the owner from %s: %v", home(i), took)
		if took > limit {
			t.Errorf("the owner from %s: %v", home(i), took)
		}
	}
	end()
	// Those who have hung up are passed over, or their hashes would come first.
	defer s.attack(t, stuffers, 10)()
	took := s.owner(t, "127.3.0.1")
	t.Logf("the owner from elsewhere: %v", took)
	if took > strangerDelay+strangerLine*limit {
		t.Errorf("the owner from elsewhere: %v", took)
	}
}
