package account

import (
	"errors"
	"slices"
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// outbox is an Outbox that remembers.
type outbox []string

func (o *outbox) Freeze(a string) { *o = append(*o, "freeze "+a) }
func (o *outbox) Thaw(a string)   { *o = append(*o, "thaw "+a) }
func (o *outbox) Orphan(a string) { *o = append(*o, "orphan "+a) }

// What is sent follows what is frozen, from the start on; whoever asks twice
// is told of once.
func TestOutbox(t *testing.T) {
	t.Parallel()
	r := &reviewed{}
	h := newHouse(t, func(o *Options) { o.Activity = r })
	h.domain("example.org", "beta.example")
	h.accounts("anna@example.org", "ben@example.org", "carl@beta.example", "dora@beta.example")
	anna, ben, carl := addr.MustParse("Anna@example.org"), addr.MustParse("ben@example.org"), addr.MustParse("carl@beta.example")
	if err := h.Freeze(ctx, anna); err != nil {
		t.Fatal(err)
	}
	o := &outbox{}
	if err := h.SetOutbox(ctx, o); err != nil {
		t.Fatal(err)
	}
	who, err := h.Account(ctx, ben)
	if err != nil {
		t.Fatal(err)
	}
	r.list = nil
	lock := func() error {
		a, err := h.Lock(ctx, who.ID, "by a link")
		if a != ben {
			t.Errorf("locks %s", a)
		}
		return err
	}
	for i, do := range []func() error{
		lock, lock,
		func() error { return h.Freeze(ctx, carl) },
		func() error { return h.Release(ctx, anna) }, func() error { return h.Release(ctx, anna) },
		func() error { return h.RemoveAccount(ctx, anna) }, func() error { return h.RemoveAccount(ctx, ben) },
		func() error { return h.RemoveDomain(ctx, "beta.example", true) },
	} {
		if err := do(); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	want := outbox{
		"freeze anna@example.org", "freeze ben@example.org", "freeze ben@example.org", "freeze carl@beta.example",
		"thaw anna@example.org", "thaw anna@example.org", "orphan ben@example.org", "orphan carl@beta.example",
	}
	if !slices.Equal(*o, want) {
		t.Errorf("%q", *o)
	}
	noted := []string{"frozen ben@example.org by a link", "frozen carl@beta.example", "released anna@example.org"}
	if !slices.Equal(r.list[:3], noted) {
		t.Errorf("%q", r.list)
	}
	if _, err := h.Lock(ctx, who.ID, ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("an account that is gone: %v", err)
	}
}

// Whoever signed in before sends nothing after.
func TestFrozenSendsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org")
	anna := addr.MustParse("anna@example.org")
	for _, frozen := range []bool{false, true, false} {
		if err := h.setFrozen(ctx, anna, frozen, ""); err != nil {
			t.Fatal(err)
		}
		err := h.Spend(ctx, "anna@example.org", 1)
		var refused *envelope.Error
		if frozen != errors.As(err, &refused) || frozen && refused.Code != 550 {
			t.Errorf("frozen %v: %v", frozen, err)
		}
	}
}
