package account

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

// reviewed is an Activity that remembers.
type reviewed struct {
	list []string
	full bool // it cannot write
}

func (r *reviewed) Tried(e *activity.Event) {
	r.list = append(r.list, fmt.Sprintf("tried %s %d", e.Account, e.Owner))
}

func (r *reviewed) Note(_ *store.Tx, e *activity.Event) error {
	if r.full {
		return errors.New("full")
	}
	r.list = append(r.list, strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Kind, e.Account, e.Detail)))
	return nil
}

// Every change that lets somebody in, keeps somebody out, or takes mail
// elsewhere is told, and not made if it cannot be.
func TestChangesAreNoted(t *testing.T) {
	t.Parallel()
	r := &reviewed{}
	h := newHouse(t, func(o *Options) { o.Activity = r })
	h.domain("example.org")
	anna, info := addr.MustParse("Anna@example.org"), addr.MustParse("info@example.org")
	away := addr.MustParse("x@elsewhere.example")
	admin := Admin
	var device Device
	for i, step := range []struct {
		do   func() error
		want []string
	}{
		{func() error { _, err := h.AddAccount(ctx, anna, password, User); return err }, []string{"account-added anna@example.org user"}},
		{func() error { return h.SetPassword(ctx, anna, password+" 2") }, []string{"password anna@example.org"}},
		{func() error { return h.SetAccount(ctx, anna, Settings{Role: &admin}) }, []string{"role anna@example.org admin"}},
		{func() error { return h.SetAccount(ctx, anna, Settings{Role: &admin}) }, nil},
		{func() error { return h.Freeze(ctx, anna) }, []string{"frozen anna@example.org"}},
		{func() error { return h.Release(ctx, anna) }, []string{"released anna@example.org"}},
		{func() (err error) { device, _, err = h.AddDevice(ctx, anna, "phone", Terms{}); return err }, []string{"device-added anna@example.org phone"}},
		{func() error { return h.RemoveDevice(ctx, anna, device.ID) }, []string{"device-removed anna@example.org phone"}},
		{func() error { return h.AddAlias(ctx, info, []addr.Address{anna}) }, []string{"alias-set  info@example.org to anna@example.org"}},
		{func() error { return h.SetAlias(ctx, info, []addr.Address{anna, away}) }, []string{
			"alias-set  info@example.org to anna@example.org, x@elsewhere.example",
			"forwarding anna@example.org info@example.org to x@elsewhere.example"}},
		{func() error { return h.SetAlias(ctx, info, []addr.Address{away, anna}) }, []string{"alias-set  info@example.org to x@elsewhere.example, anna@example.org"}},
		{func() error { return h.SetAlias(ctx, info, []addr.Address{away}) }, []string{"alias-set  info@example.org to x@elsewhere.example"}},
		{func() error { return h.SetAlias(ctx, info, []addr.Address{anna}) }, []string{"alias-set  info@example.org to anna@example.org"}},
		{func() error { return h.SetAlias(ctx, info, []addr.Address{away}) }, []string{
			"alias-set  info@example.org to x@elsewhere.example",
			"forwarding anna@example.org info@example.org to x@elsewhere.example"}},
		{func() error { return h.RemoveAlias(ctx, info) }, []string{"alias-removed  info@example.org"}},
		{func() error { return h.RemoveAccount(ctx, anna) }, []string{"account-removed anna@example.org"}},
		{func() error { _, err := h.AddAccount(ctx, anna, password, User); return err }, []string{"account-added anna@example.org user"}},
		{func() error { return h.RemoveDomain(ctx, "example.org", true) }, []string{"account-removed anna@example.org"}},
	} {
		r.list = nil
		if err := step.do(); err != nil || !slices.Equal(r.list, step.want) {
			t.Errorf("step %d: %q, %v; want %q", i, r.list, err, step.want)
		}
	}
	h.domain("example.org")
	r.full = true
	if _, err := h.AddAccount(ctx, anna, password, User); err == nil {
		t.Error("what could not be noted was done")
	}
	if _, err := h.Account(ctx, anna); err == nil {
		t.Error("what could not be noted is there")
	}
}

// Sign-ins are told with whose they are.
func TestSignInsAreTold(t *testing.T) {
	t.Parallel()
	r := &reviewed{}
	h := newHouse(t, func(o *Options) { o.Activity = r })
	h.domain("example.org")
	acc, err := h.AddAccount(ctx, addr.MustParse("anna@example.org"), password, User)
	if err != nil {
		t.Fatal(err)
	}
	r.list = nil
	if _, err := h.Start("PLAIN", &envelope.Peer{}); err == nil {
		t.Fatal("in the clear")
	}
	if len(r.list) != 0 {
		t.Errorf("%q", r.list)
	}
	if _, err := h.signIn("anna@example.org", password, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	if want := []string{fmt.Sprintf("tried anna@example.org %d", acc.ID)}; !slices.Equal(r.list, want) {
		t.Errorf("%q, want %q", r.list, want)
	}
}
