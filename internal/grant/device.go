package grant

import (
	"context"
	"net/netip"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/oauth"
)

// Device is a device that waits for somebody to type its code in elsewhere:
// RFC 8628.
type Device struct {
	Client Client
	Scope  oauth.Scope
	From   netip.Addr // where it asks from
	Agent  string     // what it calls itself, its own word
	Asked  time.Time

	secret sum
	typed  oauth.UserCode
	until  time.Time
	polled time.Time
	every  time.Duration
	state  state
	owner  Owner
	who    activity.Client // the browser
}

type state int

const (
	waiting state = iota
	allowed
	denied
	spent
)

// guesses are codes that an account mistyped.
type guesses struct {
	n     int
	since time.Time
}

// NewDevice begins the wait of a device: RFC 8628, section 3.1.
func (b *Book) NewDevice(client Client, scope oauth.Scope, from netip.Addr, agent string) (*oauth.DeviceAnswer, error) {
	secret, s, err := newSecret(b.o.Random, devicePrefix)
	if err != nil {
		return nil, err
	}
	typed, err := oauth.NewUserCode(b.o.Random)
	if err != nil {
		return nil, err
	}
	now := b.o.Clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	of := 0
	for _, d := range b.devices {
		switch {
		case !now.Before(d.until):
			b.drop(d)
		case source(d.From) == source(from):
			of++
		}
	}
	// A network is bounded so that nobody fills the room alone; a code that is
	// in use already is so unlikely that it may look like a full room.
	if len(b.devices) >= maxDevices || of >= maxDevicesOf || b.typed[typed] != nil {
		return nil, errBusy
	}
	d := &Device{
		Client: client, Scope: scope, From: from, Agent: agent, Asked: now,
		secret: s, typed: typed, until: now.Add(deviceLife), every: pollEvery,
	}
	b.devices[s], b.typed[typed] = d, d
	return &oauth.DeviceAnswer{
		DeviceCode: secret, UserCode: typed.String(),
		Expires: int64(deviceLife / time.Second), Interval: int64(pollEvery / time.Second),
	}, nil
}

// drop forgets a device; b.mu is held.
func (b *Book) drop(d *Device) {
	delete(b.devices, d.secret)
	delete(b.typed, d.typed)
}

// Poll answers a device that asks whether it was allowed: RFC 8628, sections
// 3.4 and 3.5.
func (b *Book) Poll(ctx context.Context, r oauth.TokenRequest) (*oauth.Tokens, error) {
	s, ok := sumOf(devicePrefix, r.Secret)
	if !ok {
		return nil, errGrant
	}
	d, err := b.poll(s, r.Client)
	if err != nil {
		return nil, err
	}
	tokens, _, err := b.make(ctx, allow{d.owner, d.Client, d.Scope, d.who})
	return tokens, err
}

func (b *Book) poll(s sum, client string) (*Device, error) {
	now := b.o.Clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.devices[s]
	switch {
	case d == nil || d.Client.ID != client || d.state == spent:
		return nil, errGrant
	case !now.Before(d.until):
		return nil, &oauth.Error{Code: oauth.Expired, Text: "nobody typed the code in time"}
	case d.state == denied:
		return nil, &oauth.Error{Code: oauth.AccessDenied, Text: "it was not allowed"}
	}
	early := !d.polled.IsZero() && now.Sub(d.polled) < d.every
	d.polled = now
	switch {
	case early:
		d.every += pollEvery // RFC 8628, section 3.5
		return nil, &oauth.Error{Code: oauth.SlowDown, Text: "ask less often"}
	case d.state == waiting:
		return nil, &oauth.Error{Code: oauth.Pending, Text: "nobody has typed the code yet"}
	}
	d.state = spent // and stays until it expires, so that its code is not given again
	return d, nil
}

// Find returns the device that waits with a code which somebody typed. After
// maxGuesses wrong ones an account has to wait: whoever finds another's code
// has that device send and read his mail, with what is on it.
func (b *Book) Find(account int64, typed string) (Device, error) {
	now := b.o.Clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.guesses[account]
	if g == nil || now.Sub(g.since) >= guessTime {
		g = &guesses{since: now}
	}
	if g.n >= maxGuesses {
		return Device{}, ErrGuesses
	}
	code, ok := oauth.ParseUserCode(typed)
	d := b.typed[code]
	if !ok || d == nil || d.state != waiting || !now.Before(d.until) {
		g.n++
		b.guesses[account] = g // bounded by the accounts that there are
		return Device{}, ErrUnknown
	}
	return *d, nil
}

// Decide allows a device what it asks for, or not.
func (b *Book) Decide(owner Owner, typed string, allow bool, who activity.Client) (Device, error) {
	if _, err := b.Find(owner.ID, typed); err != nil {
		return Device{}, err
	}
	code, _ := oauth.ParseUserCode(typed)
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.typed[code]
	if d == nil || d.state != waiting {
		return Device{}, ErrUnknown
	}
	d.state, d.owner, d.who = denied, owner, who
	if allow {
		d.state = allowed
	}
	return *d, nil
}
