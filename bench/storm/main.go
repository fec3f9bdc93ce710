// Command storm keeps Gatepost under load while faults befall it at random,
// and ends in a ledger of every message. bench/soak builds it and starts it
// in namespaces of its own.
//
// The load is mail from many connections to a few mailboxes and, through
// routes, to hops that take, defer, refuse and hang up as they please. The
// faults are in fault.go. Each message follows from its token (letter.go),
// so that whoever holds one can tell whether it is whole; ledger.go knows
// what was promised for it and compares.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// options are what the command line says.
type options struct {
	gatepost string
	time     time.Duration
	seed     uint64
	fs       string
	clients  int
	only     *regexp.Regexp
	keep     string
}

func main() {
	var o options
	flag.StringVar(&o.gatepost, "gatepost", "", "the binary under test")
	flag.DurationVar(&o.time, "time", 10*time.Minute, "how long faults and load go on")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "of all that is left to chance")
	flag.StringVar(&o.fs, "fs", "ext4", "the file system of the data directory: ext4, xfs or tmpfs")
	flag.IntVar(&o.clients, "clients", 50, "connections that send")
	flag.StringVar(&o.keep, "keep", "", "an existing directory for the server's log")
	only := flag.String("only", "", "only faults whose name matches this regular expression")
	flag.Parse()
	var good bool
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		good, err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || !good {
		os.Exit(1)
	}
}

// run is the whole soak. It reports whether every message is accounted for.
func run(o options) (bool, error) {
	dir, err := os.MkdirTemp("", "gatepost-soak-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	s, err := install(o, dir)
	if err != nil {
		return false, err
	}
	defer s.remove()
	ctx, done := signal.NotifyContext(context.Background(), os.Interrupt)
	defer done()

	book := newLedger()
	hops, err := openHops(o.seed, book)
	if err != nil {
		return false, err
	}
	if err := s.start(); err != nil {
		return false, err
	}
	began := time.Now()
	f := &faults{s: s, hops: hops, book: book, only: o.only, random: rand.New(rand.NewPCG(o.seed, 0)), count: map[string]int{}}
	err = storm(ctx, o, f)
	took := time.Since(began)
	if err == nil {
		err = settle(s, hops, book)
	}
	if err == nil {
		err = count(s, book, dir)
	}
	if o.keep != "" {
		err = errors.Join(err, os.WriteFile(filepath.Join(o.keep, "soak.log"), []byte(s.log.String()), 0o600))
	}
	if err != nil {
		return false, fmt.Errorf("%w\nthe server's last words:\n%s", err, s.log.last(2000))
	}
	fmt.Printf("\nGatepost %v under load and faults, %d connections, on %s, seed %d\n%s\n", took.Round(time.Second), o.clients, s.where, o.seed, f)
	good := book.print()
	fmt.Printf("%s\n", s.log.complaints())
	return good, nil
}

// storm lets the clients send and the faults befall, until the time is over.
func storm(ctx context.Context, o options, f *faults) error {
	ctx, stop := context.WithTimeout(ctx, o.time)
	defer stop()
	var clients sync.WaitGroup
	for n := range o.clients {
		c := client{book: f.book, random: rand.New(rand.NewPCG(o.seed, uint64(n)+1000)), name: fmt.Sprintf("c%d", n)}
		clients.Go(func() { c.sends(ctx) })
	}
	err := f.befall(ctx)
	stop()
	clients.Wait()
	return err
}

// settle lets everything be delivered: the faults are over, and the hops are
// in a good mood.
func settle(s *server, hops []*hop, book *ledger) error {
	for _, h := range hops {
		h.calm.Store(true)
	}
	deadline := time.Now().Add(5 * time.Minute)
	for {
		if _, err := s.run("queue", "retry", "all"); err != nil {
			return err
		}
		left, err := s.queued()
		if err != nil {
			return err
		}
		if len(left) == 0 || time.Now().After(deadline) {
			book.queued = left
			return nil
		}
		time.Sleep(time.Second)
	}
}

// count ends the server politely and reads every mailbox.
func count(s *server, book *ledger, dir string) error {
	if err := s.stop(); err != nil {
		return err
	}
	for _, box := range append(boxes, sender) {
		file := filepath.Join(dir, box)
		if _, err := s.run("mailbox", "export", box, file); err != nil {
			return err
		}
		if err := readMbox(file, func(content string) { book.filed(box, content) }); err != nil {
			return err
		}
	}
	return nil
}
