package signing

import (
	"context"
	"errors"
	"slices"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/resolve"
)

// Tend moves each key on in its life: it makes what is missing or due, asks
// the DNS, retires and forgets.
func (r *Ring) Tend(ctx context.Context) error {
	domains, err := r.o.Domains(ctx)
	if err != nil {
		return err
	}
	all, err := r.read(ctx)
	if err != nil {
		return err
	}
	var errs []error
	var kept []Key
	now := r.o.Clock.Now()
	for _, d := range domains {
		list, err := r.tend(ctx, d, of(all, d), now)
		kept, errs = append(kept, list...), append(errs, err)
	}
	for i := range all {
		if !slices.Contains(domains, all[i].Domain) {
			errs = append(errs, r.drop(ctx, &all[i]))
		}
	}
	return errors.Join(append(errs, r.use(kept))...)
}

// tend sees to the keys of one domain and returns those that are left.
func (r *Ring) tend(ctx context.Context, d addr.Domain, list []Key, now time.Time) ([]Key, error) {
	var errs []error
	if newest := newestOf(list); newest.IsZero() || now.Sub(newest) >= life {
		made, err := r.make(ctx, d, now)
		if err != nil {
			return list, err
		}
		list = append(list, made...)
		r.o.Log.Warn("new keys to sign mail with: publish their records, which gatepost dns shows", "domain", d)
	}
	for i := range list {
		if list[i].State() != Retired {
			errs = append(errs, r.look(ctx, &list[i], now))
		}
	}
	// Keys of a day come into use together: what one of them was seen for,
	// the older ones are retired for once all are.
	newest := newestOf(list)
	ready := true
	for i := range list {
		ready = ready && (!list[i].Made.Equal(newest) || list[i].State() == Used)
	}
	var left []Key
	for i := range list {
		k := &list[i]
		switch {
		case k.State() == Retired && !now.Before(k.Gone):
			r.o.Log.Info("a signing key is gone; its record may be removed", "domain", d, "selector", k.Selector)
			errs = append(errs, r.drop(ctx, k))
			continue
		case k.State() != Retired && ready && k.Made.Before(newest):
			k.retired, k.Gone = now, now.Add(r.linger())
			errs = append(errs, r.write(ctx, k))
		}
		left = append(left, *k)
	}
	return left, errors.Join(errs...)
}

// look asks the DNS for a key and notes what is new about that.
func (r *Ring) look(ctx context.Context, k *Key, now time.Time) error {
	shown, err := r.shown(ctx, k)
	switch {
	case errors.Is(err, resolve.ErrTemporary):
		r.o.Log.Warn("whether the DNS shows a signing key, nobody could say now; it stays as it was", "domain", k.Domain, "selector", k.Selector, "err", err)
		return nil
	case err != nil || shown == !k.Seen.IsZero():
		return err
	case shown:
		k.Seen = now
		r.o.Log.Info("a signing key is in the DNS and comes into use", "domain", k.Domain, "selector", k.Selector)
	default:
		k.Seen = time.Time{}
		r.o.Log.Error("a signing key has gone from the DNS, so that mail is not signed with it; publish its record again, which gatepost dns shows",
			"domain", k.Domain, "selector", k.Selector)
	}
	return r.write(ctx, k)
}

// newestOf returns when the newest keys were made; zero if there are none.
func newestOf(list []Key) (newest time.Time) {
	for i := range list {
		if list[i].Made.After(newest) {
			newest = list[i].Made
		}
	}
	return newest
}
