package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// workers sign in at a time, and cold is how many do so with the password.
	workers = 4
	cold    = 20
)

// many prints what accounts cost.
func many(s *server, n int) error {
	if n == 0 {
		n = 10_000
	}
	was, empty, err := s.state()
	if err != nil {
		return err
	}
	s.stop()
	if err := s.furnish(n); err != nil {
		return err
	}
	started, idle, err := s.state()
	if err != nil {
		return err
	}
	times, took, err := signIn(n, device)
	if err != nil {
		return err
	}
	after, err := s.memory()
	if err != nil {
		return err
	}
	slow, _, err := signIn(cold, password)
	if err != nil {
		return err
	}
	s.stop()
	again, known, err := s.state()
	if err != nil {
		return err
	}
	for _, l := range []struct {
		what string
		v    any
	}{
		{"accounts", n},
		{"start without them", was}, {"start with them", started}, {"start once each signed in", again},
		{"memory without them (anonymous), MiB", mib(empty)}, {"memory with them", mib(idle)},
		{"memory once each signed in with a device password", mib(after)}, {"memory of the next start", mib(known)},
		{"octets an account", (after - empty) << 10 / int64(n)},
		{"sign-ins by device password, each with a connection, a second", fmt.Sprintf("%.0f", float64(n)/took.Seconds())},
		{"AUTH by device password, median and 99 %", quantiles(times)}, {"AUTH by password, median and 99 %", quantiles(slow)},
	} {
		fmt.Printf("%-62s %v\n", l.what, l.v)
	}
	return nil
}

// state starts the server and returns how long that took, and its memory.
func (s *server) state() (took time.Duration, kib int64, err error) {
	if took, err = s.start(); err != nil {
		return 0, 0, err
	}
	kib, err = s.memory()
	return took.Round(time.Millisecond), kib, err
}

func mib(kib int64) string { return fmt.Sprintf("%.1f", float64(kib)/1024) }

// signIn signs each account in once, from many networks, and returns how long
// each AUTH took, and all.
func signIn(n int, with string) (times []time.Duration, took time.Duration, err error) {
	var mu sync.Mutex
	var all sync.WaitGroup
	began := time.Now()
	for w := range workers {
		all.Go(func() {
			for i := w; i < n; i += workers {
				c, e := dial(fmt.Sprintf("127.%d.%d.1", 10+i/250, i%250))
				var d time.Duration
				if e == nil {
					d, e = c.say(plain(name(i), with), 235)
					c.Close()
				}
				mu.Lock()
				times = append(times, d)
				if e != nil {
					err = e
				}
				mu.Unlock()
				if e != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return times, time.Since(began), err
}

func quantiles(times []time.Duration) string {
	slices.Sort(times)
	at := func(q float64) time.Duration { return times[int(q*float64(len(times)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("%v, %v", at(0.5), at(0.99))
}
