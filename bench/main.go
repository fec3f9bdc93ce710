// Command bench measures Gatepost beside Postfix: the same work, the same
// client and next hop, the same two processors, the same minutes. bench/run
// builds what it needs and starts it; docs/benchmarks.md tells how to read
// what it prints.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"
)

// options are what the command line says.
type options struct {
	gatepost, smtpload string
	only               *regexp.Regexp
	rounds             int
	scale              float64 // of the number of messages
	keep               bool
}

func main() {
	o := options{}
	flag.StringVar(&o.gatepost, "gatepost", "", "the binary under test")
	flag.StringVar(&o.smtpload, "smtpload", "", "the load generator")
	only := flag.String("only", "", "measure lines whose name matches this regular expression")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; the table shows medians")
	flag.Float64Var(&o.scale, "scale", 1, "multiplies the number of messages")
	flag.BoolVar(&o.keep, "keep", false, "keep the directory of each server")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures every line, one after the other, each in rounds: Gatepost and
// Postfix within seconds of each other, between two looks at what the client
// can do against its own sink.
func run(o options) error {
	b := &bench{options: o}
	fmt.Printf("%s\n\n", machine())
	fmt.Print(head)
	for _, l := range lines {
		if !o.only.MatchString(l.name) {
			continue
		}
		var rounds []round
		for range o.rounds {
			r, err := b.round(l)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			rounds = append(rounds, r)
		}
		fmt.Print(l.rows(rounds))
	}
	return nil
}

// bench carries what the lines share.
type bench struct {
	options
	cert   tls.Certificate // of the guarded domain, once it was asked for
	signed *letters        // likewise
}

// round is a line measured once.
type round struct {
	limit    float64 // what the client can do alone, in the line's unit
	gatepost figures
	postfix  figures
}

// round measures a line once.
func (b *bench) round(l line) (r round, err error) {
	var before, after float64
	if l.limit != nil {
		if before, err = l.limit(b); err != nil {
			return r, err
		}
	}
	if r.gatepost, err = b.measure(l, newGatepost(b, l.needs)); err != nil {
		return r, fmt.Errorf("gatepost: %w", err)
	}
	if !l.alone {
		if r.postfix, err = b.measure(l, newPostfix(b, l.needs)); err != nil {
			return r, fmt.Errorf("postfix: %w", err)
		}
	}
	if l.limit != nil {
		if after, err = l.limit(b); err != nil {
			return r, err
		}
		r.limit = (before + after) / 2
	}
	return r, nil
}

// measure starts a server, lets a line use it, and stops it.
func (b *bench) measure(l line, s server) (f figures, err error) {
	if err := s.start(); err != nil {
		s.stop()
		return f, err
	}
	defer func() {
		if e := s.stop(); err == nil {
			err = e
		}
	}()
	return l.measure(b, s)
}

// n scales a number of messages.
func (b *bench) n(messages int) int { return max(1, int(float64(messages)*b.scale)) }

// settle gives the machine a moment between two servers, so that one does
// not pay for the dirty pages of the other.
func settle() { time.Sleep(300 * time.Millisecond) }
