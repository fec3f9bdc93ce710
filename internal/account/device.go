package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gatepost/internal/account/record"
	"gatepost/internal/account/terms"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/store"
)

const (
	// maxDevices bounds the device passwords of an account, each of which is
	// tried at every sign-in, and its certificates.
	maxDevices = 50
	// maxDeviceName bounds what a device is called, in octets.
	maxDeviceName = 100
)

// ParseScope reads what a device may do: send, read or both.
func ParseScope(s string) (terms.Scope, error) { return terms.ParseScope(s) }

// ParseNetworks reads from where a device may do it.
func ParseNetworks(list []string) ([]netip.Prefix, error) { return terms.ParseNetworks(list) }

// Networks returns networks as people read them; never nil.
func Networks(list []netip.Prefix) []string { return terms.Strings(list) }

// checkDevice reads what is asked for a device.
func (d *Directory) checkDevice(name string, t terms.Terms) (terms.Terms, error) {
	if name == "" || len(name) > maxDeviceName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return t, fmt.Errorf("a device needs a name of at most %d octets", maxDeviceName)
	}
	if t.Scope == "" {
		t.Scope = terms.Both
	}
	if !t.Expires.IsZero() {
		t.Expires = time.Unix(t.Expires.Unix(), 0).UTC()
	}
	if t.Expired(d.o.Clock.Now()) {
		return t, fmt.Errorf("it would expire before it was of use, on %s", t.Expires.Format(time.DateOnly))
	}
	return t, nil
}

// AddDevice makes a device password, which one program or device has for
// itself, so that it can be taken away alone. It is good for what t says; no
// scope is both. It is returned the only time that anybody sees it.
func (d *Directory) AddDevice(ctx context.Context, a addr.Address, name string, t terms.Terms) (dev Device, password string, err error) {
	if t, err = d.checkDevice(name, t); err != nil {
		return Device{}, "", err
	}
	before, err := d.person(ctx, a)
	if err != nil {
		return Device{}, "", err
	}
	fresh, p, err := d.signin.NewDevice(name, t, before.Salt, before.Iterations)
	if err != nil {
		return Device{}, "", err
	}
	dev = Device{Name: name, Terms: t, Created: time.Unix(d.o.Clock.Now().Unix(), 0).UTC()}
	err = d.onAccount(ctx, a, func(tx *store.Tx, now *record.Person) (err error) {
		if now.ID != before.ID {
			return errNoAccount(a)
		}
		if err := room(tx, now, record.Device); err != nil {
			return err
		}
		if dev.ID, err = d.signin.Keep(tx, now.ID, fresh, dev.Created); err != nil {
			return err
		}
		return d.note(tx, activity.DeviceAdded, now.Account, name)
	})
	if err != nil {
		return Device{}, "", err
	}
	return dev, string(p), nil
}

// kindNames are the kinds of what devices sign in with, for people.
var kindNames = map[record.Kind]string{record.Device: "device password", record.Certificate: "certificate"}

// room reports whether an account may have one more of a kind.
func room(tx *store.Tx, p *record.Person, kind record.Kind) error {
	list, err := record.ReadDevices(tx, p.ID, kind)
	if err == nil && len(list) >= maxDevices {
		err = fmt.Errorf("%s has %d %ss, which is the most; remove one first", p.Address.Unicode(), maxDevices, kindNames[kind])
	}
	return err
}

// Devices returns the device passwords of an account, the oldest first.
func (d *Directory) Devices(ctx context.Context, a addr.Address) ([]Device, error) {
	return d.devices(ctx, a, record.Device)
}

func (d *Directory) devices(ctx context.Context, a addr.Address, kind record.Kind) (list []Device, err error) {
	err = d.db.View(ctx, func(tx *store.Tx) error {
		p, err := findPerson(tx, a)
		if err != nil {
			return err
		}
		list, err = record.ReadDevices(tx, p.ID, kind)
		return err
	})
	return list, err
}

// RemoveDevice takes a device password away, and ends the sessions that were
// signed in with it.
func (d *Directory) RemoveDevice(ctx context.Context, a addr.Address, id int64) error {
	return d.removeDevice(ctx, a, id, record.Device, activity.DeviceRemoved)
}

func (d *Directory) removeDevice(ctx context.Context, a addr.Address, id int64, kind record.Kind, what activity.Kind) error {
	err := d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) error {
		err := record.DeleteDevice(tx, p.ID, id, kind)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("%s has no %s %d", a.Unicode(), kindNames[kind], id)
		case err != nil:
			return err
		}
		return d.note(tx, what, p.Account, deviceName(p, id))
	})
	if err == nil {
		d.End(Ended{a, id})
	}
	return err
}
