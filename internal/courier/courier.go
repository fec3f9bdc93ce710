// Package courier tells other domains, once a day, what we saw of them: how
// TLS with their mail hosts went (RFC 8460), and who sent mail in their name
// (DMARC aggregate reports, RFC 9990).
//
// # Place in the path
//
// What is told, proof and witness have kept. TLS reports go to the URLs and
// addresses that the domain names, DMARC reports to its addresses: by mail
// through the queue, as messages of our own (envelope.IsErrand), signed or
// not at all (RFC 8460, section 3). What becomes of each is kept for a while
// and shown by gatepost reports sent.
//
// # When
//
// A domain is told of a day some time in the hours after it, always the same,
// so that not all servers report at once. What fails is tried again, by us
// and by the queue, for a day. Where no key is in use that mail could be
// signed with, reports wait for one that long.
//
// # What it trusts, and its limits
//
// A domain says itself where its reports go, and could name a stranger: for
// DMARC the stranger must agree in the DNS (dmarc.Destinations); for TLS only
// a domain that we send mail to can ask. URLs are reached as reach allows.
// maxTo, maxRound, maxPacked and roundTime bound what one domain, and all of
// them, can make us send. Of reports we never report: the sessions that bring
// them have no policy and so are not counted, and what comes to our own
// addresses for reports is not seen by witness. Their reverse-path is null,
// and their author is an address that the server reads, so that what is sent
// back starts nothing.
package courier

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
	"gatepost/internal/resolve"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/witness"
)

// Bounds of what is sent.
const (
	maxTo      = 10       // destinations of one report
	maxRound   = 500      // reports handed to the queue in one round
	maxPacked  = 10 << 20 // octets of a report as sent
	lookupTime = 30 * time.Second
	couriers   = 4 // domains told at once
)

// Tally has the sessions that were counted: proof.Sums.
type Tally interface {
	// Domains returns the domains with sessions on a day.
	Domains(ctx context.Context, day time.Time) ([]string, error)
	// Of returns the sums of a day for a domain.
	Of(ctx context.Context, day time.Time, domain string) ([]tlsrpt.Sum, error)
}

// Mail has what was seen of mail in the name of others: witness.Witness.
type Mail interface {
	// Domains returns the domains to be told of a day.
	Domains(ctx context.Context, day time.Time) ([]string, error)
	// Of returns what was seen on a day for a domain.
	Of(ctx context.Context, day time.Time, domain string) (witness.Seen, error)
}

// Options are the parts that a Courier works with; all are required.
type Options struct {
	DB       *store.DB
	Tally    Tally
	Mail     Mail
	Resolver resolve.Resolver
	Clock    clock.Clock
	Log      *slog.Logger
	Hostname addr.Domain // who reports
	// Post hands a report over at a URL of https; nil means that it was
	// taken.
	Post func(ctx context.Context, url string, report []byte) error
	// Sender returns the domain of ours that mail of this host is to be from,
	// so that it is signed; empty if there is none.
	Sender func() addr.Domain
	// Submit hands a message to the queue, which signs it and sets its ID, or
	// refuses to take what it could not sign.
	Submit func(ctx context.Context, e *envelope.Envelope, write func(io.Writer) error) error
	Random io.Reader // good for secrets; safe for concurrent use
}

// Settings are what the operator may change while the server runs.
type Settings struct{ TLS, DMARC bool } // which reports are sent

// Counters count since the start.
type Counters struct {
	Posted   atomic.Int64 // reports that a URL took
	Mailed   atomic.Int64 // reports handed to the queue
	Failed   atomic.Int64 // attempts that failed
	Unsigned atomic.Int64 // attempts that had to wait for a key to sign with
}

// Courier sends reports. Its methods may be called from any goroutine, but
// for Tend.
type Courier struct {
	Counters map[Kind]*Counters

	o        Options
	subjects []subject
	settings atomic.Pointer[Settings]
	pruned   time.Time // only Tend uses it
	most     int       // reports that one round may hand to the queue

	mu      sync.Mutex
	tried   map[errand]time.Time // when one failed last
	told    map[string]end       // by message, what became of it and is not kept yet
	left    int                  // reports that this round may still hand to the queue
	waiting bool                 // for a key, which was said
}

// Kind is a kind of report.
type Kind string

// The kinds.
const (
	TLS   Kind = "tls"
	DMARC Kind = "dmarc"
)

// errand is one domain to be told of one day.
type errand struct {
	kind   Kind
	day    time.Time
	domain string
}

// subject is what a kind of report is about.
type subject interface {
	kind() Kind
	// domains returns those to be told of a day.
	domains(ctx context.Context, day time.Time) ([]string, error)
	// destinations returns where the report goes. refused are those that it
	// must not go to. An error is of the DNS, for those that it did not say.
	destinations(ctx context.Context, domain string) (to []destination, refused []destination, err error)
	// compose makes the report. An error is the store's.
	compose(ctx context.Context, e errand) (report, error)
}

// destination is where a report goes: a URL, or else an address.
type destination struct {
	url   string
	mail  addr.Address
	limit int64 // octets, at most; 0 is any
}

func (d destination) String() string {
	if d.url != "" {
		return d.url
	}
	return "mailto:" + d.mail.String()
}

// report is one that can be sent.
type report struct {
	packed  []byte                            // as it is posted; nil where no URL gets any
	message func(w io.Writer, l letter) error // writes it as it is mailed
}

// letter is what a message needs beside its report.
type letter struct {
	from, to  addr.Address
	submitter addr.Domain
	date      time.Time
	random    io.Reader
}

// New returns a courier that sends reports of both kinds.
func New(o Options) *Courier {
	c := &Courier{
		Counters: map[Kind]*Counters{TLS: {}, DMARC: {}},
		o:        o, subjects: []subject{sessions{o}, names{o}},
		most:  maxRound,
		tried: map[errand]time.Time{}, told: map[string]end{},
	}
	c.Set(Settings{TLS: true, DMARC: true})
	return c
}

// Set takes other settings.
func (c *Courier) Set(s Settings) { c.settings.Store(&s) }

// sends reports whether reports of a kind are sent.
func (c *Courier) sends(k Kind) bool {
	s := c.settings.Load()
	return k == TLS && s.TLS || k == DMARC && s.DMARC
}
