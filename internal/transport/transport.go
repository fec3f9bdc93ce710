// Package transport decides what a mail host must prove before a message
// goes over to it, checks the proof, and keeps account of it.
//
// # Place in the path
//
// remote asks Terms before it connects to a host, starts TLS with a Check
// made of them, and calls Learn when it knows what came of it. What the
// standards say is in mtasts, dane and tlsrpt; what must be known again after
// a restart goes through Memory and the interfaces of those packages.
// docs/transport.md has the whole as a table.
//
// # Standards
//
// RFC 7672 (DANE), RFC 8461 (MTA-STS), RFC 8689 (REQUIRETLS), RFC 8460 (TLS
// reporting), RFC 7435 (opportunistic security).
//
// # What it trusts
//
// What the owner of a domain has said in a way that nobody on the path can
// alter or suppress: under DNSSEC, or over HTTPS and not too long ago. And
// its own memory: a domain that offered something lately and does not now is
// more likely attacked than changed.
//
// # Limits
//
// Memory of levels lasts levelLife; maxKnown of them are held in this
// process.
package transport

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/mtasts"
	"gatepost/internal/resolve"
	"gatepost/internal/tlsrpt"
)

// Level is how much a connection must be protected before a message goes
// over it.
type Level uint8

// The levels, each stricter than the one before.
const (
	None          Level = iota // TLS is not even tried
	Opportunistic              // TLS if the host offers it and it works
	Require                    // TLS, with whoever answers
	Verify                     // TLS, and the host proves who it is
)

var levelNames = [...]string{"none", "opportunistic", "require", "verify"}

func (l Level) String() string { return levelNames[l] }

// ParseLevel reads a level as a [[route]] names it.
func ParseLevel(s string) (Level, error) {
	for i, name := range levelNames {
		if s == name {
			return Level(i), nil
		}
	}
	return 0, fmt.Errorf("%q is not a level of TLS", s)
}

// Reached is what a domain's hosts offered last.
type Reached struct {
	Level Level // Require or Verify; else nothing is remembered
	At    time.Time
}

// Bounds of remembering.
const (
	// levelLife is how long a level is remembered: longer than the queue
	// tries a message, so that an attacker cannot wait it out.
	levelLife = 14 * 24 * time.Hour
	// levelGrain is how old a note may grow before it is written again, for
	// the same level.
	levelGrain = 24 * time.Hour
	maxKnown   = 10_000 // domains
)

// Memory keeps what domains have reached. Its methods may be called from any
// goroutine.
type Memory interface {
	// Level returns what was remembered last of a domain; zero is nothing.
	Level(ctx context.Context, domain string) (Reached, error)
	// Remember keeps what a domain reached, in place of what was there. It
	// does not wait for the disk.
	Remember(domain string, r Reached)
}

// Options of an Engine. All are required.
type Options struct {
	Resolver resolve.Resolver
	Policies *mtasts.Cache
	Memory   Memory
	Tally    *tlsrpt.Tally
	Clock    clock.Clock
}

// Engine knows the terms for hosts. Its methods may be called from any
// goroutine.
type Engine struct {
	o     Options
	floor atomic.Uint32 // Level
	mu    sync.Mutex
	known map[string]Reached // what the memory holds of the domains asked for lately
}

// New returns an engine.
func New(o Options) *Engine {
	e := &Engine{o: o, known: map[string]Reached{}}
	e.SetFloor(Opportunistic)
	return e
}

// SetFloor sets the operator's default: the level below which no terms are,
// whatever a domain asks for.
func (e *Engine) SetFloor(l Level) { e.floor.Store(uint32(l)) }

// level returns what a domain reached, if that still counts.
func (e *Engine) level(ctx context.Context, domain string) (Reached, error) {
	e.mu.Lock()
	r, there := e.known[domain]
	e.mu.Unlock()
	if !there {
		var err error
		if r, err = e.o.Memory.Level(ctx, domain); err != nil {
			return Reached{}, err
		}
		e.note(domain, r)
	}
	if !e.o.Clock.Now().Before(r.At.Add(levelLife)) {
		return Reached{}, nil
	}
	return r, nil
}

// note keeps what is remembered of a domain at hand.
func (e *Engine) note(domain string, r Reached) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.known) >= maxKnown {
		clear(e.known) // the memory has them all
	}
	e.known[domain] = r
}

// Forget takes note that the memory of a domain was cleared, by an operator
// who knows better.
func (e *Engine) Forget(domain string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.known, domain)
}
