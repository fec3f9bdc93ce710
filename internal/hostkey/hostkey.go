// Package hostkey plans how the key of this server's own certificate changes,
// so that nobody who knows it from the DNS (TLSA records, DANE: RFC 7672) ever
// meets one that they do not know.
//
// # Place in the path
//
// Beside it. keys has the keys, and shows a certificate of its own making for
// the current one; acme has certificates issued for it; audit prints and
// checks the records; this package decides when the next key takes the place
// of the current one.
//
// # The life of a key
//
//	next     made, and shown to the operator, long before it is needed
//	wanted   current: certificates are made for it, but the one that is shown
//	         is still of the key before, since an authority has not issued
//	         another yet
//	in use   the certificate that is shown is of it
//	retired  another is in use; its record may be removed at once
//
// The records of all but the retired are to be in the DNS together. The next
// key takes over when it is due (the current one has been used for a life, or
// the operator asked for it), and may: when the DNS has answered with its
// record for two TTLs (RFC 7671, section 8.1), at every port that has any; or
// at once where there never were any. Nobody knows (the DNS does not answer),
// or the record is not there: the current key stays, for as long as that lasts.
//
// Where certificate and key are the operator's own files, the key is only
// looked at and compared with the DNS.
//
// # Trust and limits
//
// Records count also where DNSSEC does not vouch for them to us, since it may
// to others. What the TTL is, their signatures say; without those it is taken
// to be a day. The DNS is asked once in Every, at the ports of the open doors.
package hostkey

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/dane"
	"gatepost/internal/keys"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
)

// Times in the life of a key.
const (
	Every = 15 * time.Minute     // the DNS is asked
	Life  = 180 * 24 * time.Hour // until the next one is due
	// gap is for how long nobody may have looked without what was seen before
	// counting for nothing: a record may have gone and come back.
	gap = time.Hour
	// again is how long after a failure the authority is asked once more: it
	// is asked several times each, and soon answers nothing more.
	again = 6 * time.Hour
	// repeat is how often the same is said in the log.
	repeat = time.Hour
	// soon is how long before its end a certificate becomes an alert.
	soon = 14 * 24 * time.Hour
)

// Options are what the plan works with. All are required but Reissue.
type Options struct {
	Store    *store.DB
	Keys     *keys.Keys
	Resolver resolve.Resolver
	Clock    clock.Clock
	Log      *slog.Logger
	Hostname addr.Domain
	Ports    []uint16 // of the doors with TLS, as the world sees them
	// Shown returns the certificate that the doors show for the host and what
	// vouches for it, its own first; none if there is none.
	Shown func(context.Context) ([]*x509.Certificate, error)
}

// Host is the plan. Its methods may be called from any goroutine.
type Host struct {
	o Options

	// Broken says, when it is 1, that servers which heed the records in the
	// DNS cannot deliver: no key in use is among them.
	Broken atomic.Int64

	poke chan struct{}

	mu      sync.Mutex
	reissue func(context.Context) error // nil: certificates are our own
	resting time.Time                   // an authority is not asked before
	said    map[string]time.Time
}

// New returns a plan; nothing is asked or changed before Tend.
func New(o Options) *Host {
	return &Host{o: o, poke: make(chan struct{}, 1), said: map[string]time.Time{}}
}

// SetReissue tells how a certificate is had for the current key where an
// authority issues it. It comes before Tend.
func (h *Host) SetReissue(f func(context.Context) error) { h.reissue = f }

// State is where a key is in its life.
type State string

// The states.
const (
	InUse   State = "in use"
	Wanted  State = "wanted"
	Next    State = "next"
	Retired State = "retired"
)

// Key is one of the host's keys, without its private half.
type Key struct {
	State  State
	Record dane.Record // that names it in the DNS
	Due    bool        // the operator wants it used as soon as it may be
	Seen   time.Time   // since when the DNS shows it; zero while it does not
	Ready  time.Time   // when it may be used, if the DNS goes on to show it; likewise
}

// Plan is how the keys stand.
type Plan struct {
	Files  bool  // certificate and key are the operator's files
	Keys   []Key // the one in use first
	Chain  []*x509.Certificate
	Change time.Time // when the next key is due; zero where nobody plans that
}

// Plan returns how the keys stand.
func (h *Host) Plan(ctx context.Context) (Plan, error) {
	p, _, err := h.plan(ctx)
	return p, err
}

// plan also returns what is known of the keys.
func (h *Host) plan(ctx context.Context) (Plan, *memory, error) {
	var p Plan
	var err error
	if p.Chain, err = h.o.Shown(ctx); err != nil {
		return p, nil, err
	}
	m, err := h.remember(ctx)
	if err != nil {
		return p, nil, err
	}
	var used dane.Record
	if len(p.Chain) > 0 {
		if used, err = dane.ForKey(p.Chain[0].PublicKey); err != nil {
			return p, nil, err
		}
		p.Keys = append(p.Keys, Key{State: InUse, Record: used})
	}
	if p.Files = m.current == nil; p.Files {
		return p, m, nil
	}
	if !m.current.record.Equal(used) {
		p.Keys = append(p.Keys, Key{State: Wanted, Record: m.current.record})
	}
	next := Key{State: Next, Record: m.next.record, Due: m.next.due, Seen: m.next.seen}
	if at, ok := m.next.plan().Ready(); ok {
		next.Ready = at
	}
	p.Keys, p.Change = append(p.Keys, next), m.current.used.Add(Life)
	for _, k := range m.former {
		if !k.record.Equal(used) {
			p.Keys = append(p.Keys, Key{State: Retired, Record: k.record})
		}
	}
	return p, m, nil
}

// errFiles is what the operator hears who has files.
var errFiles = errors.New("the key is in a file of yours ([tls] key): publish the record of the next one beside that of this one, wait two TTLs, then put it in place with its certificate and send SIGHUP")

// Roll wants the next key used as soon as it may be: Run does it.
func (h *Host) Roll(ctx context.Context) error {
	m, err := h.remember(ctx)
	if err != nil {
		return err
	}
	if m.current == nil {
		return errFiles
	}
	if err := h.want(ctx, m.next); err != nil {
		return err
	}
	h.Look()
	return nil
}

// Run tends the keys until ctx ends: once in Every, when a key becomes ready,
// and when Roll or Look says so.
func (h *Host) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := h.Tend(ctx)
		if err != nil && ctx.Err() == nil {
			h.o.Log.Error("cannot see to the host's key", "error", err)
		}
		over := make(chan struct{})
		timer := h.o.Clock.AfterFunc(wait, func() { close(over) })
		select {
		case <-ctx.Done():
		case <-h.poke:
		case <-over:
		}
		timer.Stop()
	}
}

// Look has Run look at once, since something may have changed.
func (h *Host) Look() {
	select {
	case h.poke <- struct{}{}:
	default:
	}
}

// Tend does one round: it asks the DNS, warns, and moves the keys on. It
// returns when the next is to be.
func (h *Host) Tend(ctx context.Context) (wait time.Duration, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, m, err := h.plan(ctx)
	if err != nil {
		return Every, err
	}
	shown, signed, failed := h.look(ctx)
	h.alert(p, shown, failed)
	if p.Files {
		return Every, nil
	}
	now := h.o.Clock.Now()
	if failed != nil {
		// To make a look-up fail is what an attacker would do. Where there
		// never were records, the failure is hardly worth a word.
		level := slog.LevelWarn
		if m.current.looked.IsZero() {
			level = slog.LevelDebug
		}
		h.once(level, "nobody could say now which TLSA records of this host are in the DNS; its key stays", "error", failed)
		return Every, nil
	}
	if err := h.observe(ctx, m, shown, now); err != nil {
		return Every, err
	}
	if m.next.due || now.Sub(m.current.used) >= Life {
		if m, err = h.change(ctx, m, shown, signed, now); err != nil {
			return Every, err
		}
	}
	if at, ok := m.next.plan().Ready(); ok && at.After(now) {
		wait = at.Sub(now)
	}
	if wait == 0 || wait > Every {
		wait = Every
	}
	return wait, h.catchUp(ctx, p, m, shown, now)
}

// look asks what is published at each port. Only those that have records are
// returned; signed tells whether DNSSEC vouches for all of it.
func (h *Host) look(ctx context.Context) (shown []dane.Shown, signed bool, err error) {
	signed = true
	for _, port := range h.o.Ports {
		s, failed := dane.Look(ctx, h.o.Resolver, string(h.o.Hostname), port)
		signed = signed && s.Signed
		switch {
		case failed != nil:
			err = errors.Join(err, failed)
		case s.Set != nil:
			shown = append(shown, s)
		}
	}
	return shown, signed, err
}

// everywhere returns the records that are at every port which has any, and the
// longest that somebody may keep one of the sets.
func everywhere(shown []dane.Shown) (records []dane.Record, ttl time.Duration) {
	for i, s := range shown {
		if ttl = max(ttl, s.TTL); i == 0 {
			records = slices.Clone(s.Set.Published)
			continue
		}
		records = slices.DeleteFunc(records, func(r dane.Record) bool { return !slices.ContainsFunc(s.Set.Published, r.Equal) })
	}
	return records, ttl
}

// observe takes note of what the DNS shows: of the current key since when it
// shows nothing at all, of the next one since when it shows that.
func (h *Host) observe(ctx context.Context, m *memory, shown []dane.Shown, now time.Time) error {
	records, ttl := everywhere(shown)
	if len(shown) > 0 {
		m.current.looked, m.current.ttl = now, max(m.current.ttl, ttl)
		if err := h.saw(ctx, m.current); err != nil {
			return err
		}
	}
	k := m.next
	if now.Sub(k.looked) > gap {
		k.seen = time.Time{}
	}
	// A TTL that was longer before counts on: somebody may still keep a set
	// of that time.
	k.ttl = max(k.ttl, ttl)
	before := k.seen
	if k.seen = k.plan().Observe(records, now).Seen; !k.seen.IsZero() {
		k.looked = now
	}
	switch {
	case before.IsZero() && !k.seen.IsZero():
		h.o.Log.Info("the DNS shows the TLSA record of the next key", "record", k.record, "usable", now.Add(2*k.ttl).UTC())
	case !before.IsZero() && k.seen.IsZero():
		h.o.Log.Warn("the TLSA record of the next key has gone from the DNS; publish it again, as gatepost dns shows it", "record", k.record)
	}
	return h.saw(ctx, k)
}

// change puts the next key in the place of the current one if it may be.
func (h *Host) change(ctx context.Context, m *memory, shown []dane.Shown, signed bool, now time.Time) (*memory, error) {
	at, seen := m.next.plan().Ready()
	switch {
	case len(shown) == 0 && now.Before(m.current.unknown(signed)):
		h.once(slog.LevelInfo, "the host's key is due to be replaced, once nobody can have its TLSA records of before", "at", m.current.unknown(signed).UTC())
		return m, nil
	case len(shown) == 0: // nobody knows any key of ours
	case !seen:
		h.once(slog.LevelWarn, "the host's key is due to be replaced, and stays until the DNS shows the TLSA record of the next one; publish it", "record", m.next.record)
		return m, nil
	case now.Before(at):
		h.once(slog.LevelInfo, "the host's key is due to be replaced, once nobody can have the TLSA records without the next one's", "at", at.UTC())
		return m, nil
	}
	if err := h.o.Keys.AdvanceHost(); err != nil {
		return nil, err
	}
	h.o.Log.Info("the host has another key; the next one after it is made, and its TLSA record is to be published", "key", m.next.record)
	h.resting = time.Time{}
	return h.remember(ctx)
}

// catchUp has a certificate issued for the current key where the one that is
// shown is of another.
func (h *Host) catchUp(ctx context.Context, p Plan, m *memory, shown []dane.Shown, now time.Time) error {
	if h.reissue == nil || len(p.Chain) == 0 || now.Before(h.resting) {
		return nil
	}
	used, err := dane.ForKey(p.Chain[0].PublicKey)
	if err != nil || used.Equal(m.current.record) {
		return err
	}
	if records, _ := everywhere(shown); len(shown) > 0 && !slices.ContainsFunc(records, m.current.record.Equal) {
		h.once(slog.LevelWarn, "the certificate stays that of the key before: the TLSA record of the key that follows is not in the DNS; publish it", "record", m.current.record)
		return nil
	}
	if err := h.reissue(ctx); err != nil {
		h.resting = now.Add(again)
		return fmt.Errorf("the certificate could not be issued for the host's new key, and stays that of the key before: %w", err)
	}
	h.o.Log.Info("the certificate is of the host's new key", "record", m.current.record)
	return nil
}

// alert says what is wrong with what the doors show.
func (h *Host) alert(p Plan, shown []dane.Shown, failed error) {
	now := h.o.Clock.Now()
	broken := int64(0)
	for _, s := range shown {
		if len(s.Set.Records) == 0 { // none of them can match anything
			continue
		}
		if _, err := s.Set.Verify(p.Chain, now); err != nil {
			broken = 1
			h.once(slog.LevelError, "the TLSA records in the DNS match no key in use: servers that heed them deliver nothing; publish what gatepost dns shows", "signed", s.Signed, "error", err)
		}
	}
	if broken == 1 || failed == nil {
		h.Broken.Store(broken)
	}
	// What an authority issues is its own to watch: acme.
	if h.reissue == nil && len(p.Chain) > 0 && keys.EndsSoon(p.Chain[0], soon, now) {
		h.once(slog.LevelError, "the certificate ends soon; put a new one in place and send SIGHUP", "until", p.Chain[0].NotAfter.UTC())
	}
}

// once logs what has not been said lately.
func (h *Host) once(level slog.Level, text string, args ...any) {
	now := h.o.Clock.Now()
	if last, ok := h.said[text]; ok && now.Sub(last) < repeat {
		return
	}
	h.said[text] = now
	h.o.Log.Log(context.Background(), level, text, args...)
}
