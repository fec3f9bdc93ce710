package grant

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gatepost/internal/oauth"
)

// device begins a wait and returns what the device asks with.
func (b *book) device(from string) (*oauth.DeviceAnswer, oauth.TokenRequest) {
	b.t.Helper()
	a, err := b.NewDevice(b.client("mail-program"), oauth.Scope{Send: true}, netip.MustParseAddr(from), "msmtp")
	if err != nil {
		b.t.Fatal(err)
	}
	return a, oauth.TokenRequest{Grant: oauth.DeviceGrant, Client: "mail-program", Secret: a.DeviceCode}
}

func TestDevice(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	a, r := b.device("192.0.2.7")
	if a.Expires != 600 || a.Interval != 5 {
		t.Errorf("%+v", a)
	}
	if _, err := b.Poll(t.Context(), r); !is(err, oauth.Pending) {
		t.Errorf("at once: %v", err)
	}
	if _, err := b.Poll(t.Context(), r); !is(err, oauth.SlowDown) {
		t.Errorf("too early: %v", err)
	}
	b.clock.Advance(pollEvery)
	if _, err := b.Poll(t.Context(), r); !is(err, oauth.SlowDown) {
		t.Errorf("after the time that it had before: %v", err)
	}
	d, err := b.Find(henry.ID, a.UserCode)
	if err != nil || d.Client.ID != "mail-program" || d.From != netip.MustParseAddr("192.0.2.7") || d.Agent != "msmtp" || d.Scope != (oauth.Scope{Send: true}) {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := b.Decide(henry, a.UserCode, true, browser); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Decide(anna, a.UserCode, true, browser); !errors.Is(err, ErrUnknown) {
		t.Errorf("a second decision: %v", err)
	}
	b.clock.Advance(4 * pollEvery)
	wrong := r
	wrong.Client = "thunderbird"
	if _, err := b.Poll(t.Context(), wrong); !is(err, oauth.InvalidGrant) {
		t.Errorf("another program: %v", err)
	}
	tokens, err := b.Poll(t.Context(), r)
	if err != nil || !b.good(tokens.Access) || tokens.Scope != "mail.send" {
		t.Fatalf("%+v, %v", tokens, err)
	}
	if got, _, _ := b.Token(t.Context(), tokens.Access); got.Owner != henry {
		t.Errorf("of %+v", got.Owner)
	}
	b.clock.Advance(4 * pollEvery)
	if _, err := b.Poll(t.Context(), r); !is(err, oauth.InvalidGrant) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := b.Find(henry.ID, a.UserCode); !errors.Is(err, ErrUnknown) {
		t.Errorf("the code after its use: %v", err)
	}
}

func TestDeviceDeniedOrLate(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	a, r := b.device("192.0.2.7")
	if _, err := b.Decide(henry, a.UserCode, false, browser); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Poll(t.Context(), r); !is(err, oauth.AccessDenied) {
		t.Errorf("denied: %v", err)
	}
	a, r = b.device("192.0.2.7")
	b.clock.Advance(deviceLife)
	if _, err := b.Decide(henry, a.UserCode, true, browser); !errors.Is(err, ErrUnknown) {
		t.Errorf("late: %v", err)
	}
	if _, err := b.Poll(t.Context(), r); !is(err, oauth.Expired) {
		t.Errorf("late: %v", err)
	}
	for _, s := range []string{"", "x", "gpd_" + r.Secret[5:] + "A"} {
		r.Secret = s
		if _, err := b.Poll(t.Context(), r); !is(err, oauth.InvalidGrant) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// One network cannot fill the room, and what ran out makes some.
func TestDevicesAreBounded(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	for range maxDevicesOf {
		b.device("192.0.2.7")
	}
	if _, err := b.NewDevice(b.client("mail-program"), both, netip.MustParseAddr("192.0.2.99"), ""); !is(err, oauth.Unavailable) {
		t.Errorf("one more from the network: %v", err)
	}
	b.device("198.51.100.7")
	for i := range maxDevicesOf {
		b.device(fmt.Sprintf("2001:db8:1:%x::1", i))
	}
	if _, err := b.NewDevice(b.client("mail-program"), both, netip.MustParseAddr("2001:db8:1:ffff::1"), ""); !is(err, oauth.Unavailable) {
		t.Errorf("one more from a /48: %v", err)
	}
	b.device("2001:db8:2::1")
	b.clock.Advance(deviceLife)
	b.device("192.0.2.7")
	if len(b.devices) != 1 || len(b.typed) != 1 {
		t.Errorf("%d, %d are kept", len(b.devices), len(b.typed))
	}
}

// Whoever tries codes is stopped, and nobody else with him.
func TestGuessing(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	a, _ := b.device("192.0.2.7")
	for range maxGuesses {
		if _, err := b.Find(anna.ID, "BCDF-GHJK"); !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
	}
	if _, err := b.Find(anna.ID, a.UserCode); !errors.Is(err, ErrGuesses) {
		t.Errorf("the right one after many: %v", err)
	}
	if _, err := b.Decide(anna, a.UserCode, true, browser); !errors.Is(err, ErrGuesses) {
		t.Errorf("the right one after many: %v", err)
	}
	if _, err := b.Find(henry.ID, a.UserCode); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	b.clock.Advance(guessTime - time.Second)
	if _, err := b.Find(anna.ID, "no code"); !errors.Is(err, ErrGuesses) {
		t.Errorf("before the time: %v", err)
	}
	b.clock.Advance(time.Second)
	if _, err := b.Find(anna.ID, "no code"); !errors.Is(err, ErrUnknown) {
		t.Errorf("after the time: %v", err)
	}
}
