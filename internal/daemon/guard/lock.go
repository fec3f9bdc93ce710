package guard

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/lock"
)

// freezer is what the links in alerts ask of the accounts.
type freezer struct{ g *Guard }

func (f freezer) Name(ctx context.Context, owner int64) (string, error) {
	a, err := f.g.AddressOf(ctx, owner)
	return a.Unicode(), gone(err)
}

// byLink is how an account was frozen.
const byLink = "through the link in an alert"

func (f freezer) Freeze(ctx context.Context, owner int64) error {
	_, err := f.g.Lock(ctx, owner, byLink)
	return gone(err)
}

func gone(err error) error {
	if errors.Is(err, account.ErrUnknown) {
		return lock.ErrGone
	}
	return err
}

// LockPage answers for everything under lock.Path, with pages that render
// draws.
func (g *Guard) LockPage(render lock.Page) http.Handler {
	links := g.Links.Handler(render, g.o.Log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		links.ServeHTTP(w, r.WithContext(activity.By(r.Context(), visitor(r))))
	})
}

// visitor is who asks for a page.
func visitor(r *http.Request) activity.Client {
	c := activity.Client{Protocol: activity.Web, Name: r.UserAgent()}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.Address = from.Addr()
	}
	if r.TLS != nil {
		c.Version, c.Cipher, c.Group = r.TLS.Version, r.TLS.CipherSuite, r.TLS.CurveID
	}
	return c
}
