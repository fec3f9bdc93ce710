package main

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
)

// names is how many there are, and shared how many attempts go to one before
// the next has its turn: fewer than what makes it wait.
const (
	names  = 200
	shared = 5
)

// alike tries wrong passwords for names that exist and names that do not, in
// turns, each attempt from another network, and prints how long the answers
// took, and how often whoever guesses from one of them would be right.
func alike(s *server, n int) error {
	if n == 0 {
		n = 200
	}
	if err := s.furnish(names); err != nil {
		return err
	}
	if _, err := s.start(); err != nil {
		return err
	}
	fmt.Printf("%-14s %-28s %-28s %s\n", "mechanism", "known: 5, 50, 95 %", "unknown", "right, of 100 guesses (50 is chance)")
	from := 0
	for _, m := range []struct {
		name string
		n    int
		try  func(c *session, user string) (time.Duration, error)
	}{
		{"PLAIN", n, func(c *session, user string) (time.Duration, error) { return c.say(plain(user, "wrong"), 535) }},
		{"SCRAM", 5 * n, tryScram},
	} {
		var times [2][]time.Duration
		for i := range m.n {
			// The same length, and in no order that something else could have.
			users := [2]string{fmt.Sprintf("user%d@local.test", 100+i/shared%100), fmt.Sprintf("nope%d@local.test", 100+i/shared%100)}
			for k := range users {
				k = (k + i) % 2
				from++
				c, err := dial(fmt.Sprintf("127.%d.%d.1", 10+from/250, from%250))
				if err != nil {
					return err
				}
				d, err := m.try(c, users[k])
				c.Close()
				if err != nil {
					return err
				}
				times[k] = append(times[k], d)
			}
		}
		fmt.Printf("%-14s %-28s %-28s %.1f\n", m.name, spread(times[0]), spread(times[1]), 50+50*distance(times[0], times[1]))
	}
	return nil
}

// tryScram plays SCRAM-SHA-256 with a proof that is wrong, and returns how long
// both answers took.
func tryScram(c *session, user string) (time.Duration, error) {
	began := time.Now()
	enc := base64.StdEncoding.EncodeToString
	if err := c.PrintfLine("AUTH SCRAM-SHA-256 %s", enc([]byte("n,,n="+user+",r=abc"))); err != nil {
		return 0, err
	}
	_, challenge, err := c.ReadResponse(334)
	if err != nil {
		return 0, err
	}
	first, err := base64.StdEncoding.DecodeString(challenge)
	if err != nil {
		return 0, err
	}
	_, nonce, _ := strings.Cut(string(first), "r=")
	nonce, _, _ = strings.Cut(nonce, ",")
	if _, err := c.say(enc([]byte("c=biws,r="+nonce+",p="+enc(make([]byte, 32)))), 535); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// spread returns quantiles as text.
func spread(times []time.Duration) string {
	slices.Sort(times)
	text := ""
	for _, q := range []float64{0.05, 0.5, 0.95} {
		text += fmt.Sprintf("%v ", times[int(q*float64(len(times)-1))].Round(10*time.Microsecond))
	}
	return text
}

// distance is that of Kolmogorov and Smirnov, between two sorted samples of
// the same size: how much more often than half the best guesser is right,
// doubled.
func distance(a, b []time.Duration) (most float64) {
	for _, at := range slices.Concat(a, b) {
		below := func(list []time.Duration) float64 {
			i, _ := slices.BinarySearch(list, at)
			return float64(i) / float64(len(list))
		}
		most = max(most, max(below(a)-below(b), below(b)-below(a)))
	}
	return most
}
