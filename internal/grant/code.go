package grant

import (
	"context"
	"errors"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/oauth"
	"gatepost/internal/store"
)

// code is one that a browser carries to a program.
type code struct {
	allow
	redirect  string
	challenge string
	until     time.Time

	spent    bool  // it was shown, rightly or not
	replayed bool  // and again, while tokens were being made
	grant    int64 // 0: none
}

// NewCode makes a code for a program, which its owner consented to.
func (b *Book) NewCode(owner Owner, client Client, redirect string, a oauth.Authorization, who activity.Client) (string, error) {
	secret, s, err := newSecret(b.o.Random, codePrefix)
	if err != nil {
		return "", err
	}
	now := b.o.Clock.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	of := 0
	for k, c := range b.codes {
		switch {
		case !now.Before(c.until):
			delete(b.codes, k)
		case c.owner.ID == owner.ID:
			of++
		}
	}
	if len(b.codes) >= maxCodes || of >= maxCodesOf {
		return "", errBusy
	}
	b.codes[s] = &code{
		allow: allow{owner, client, a.Scope, who}, redirect: redirect, challenge: a.Challenge, until: now.Add(codeLife),
	}
	return secret, nil
}

// Redeem exchanges a code for tokens: RFC 6749, section 4.1.3. A code is good
// for one try, right or wrong; one that comes again ends what the first try
// got (section 10.5), since then two have it.
func (b *Book) Redeem(ctx context.Context, r oauth.TokenRequest, who activity.Client) (*oauth.Tokens, error) {
	s, ok := sumOf(codePrefix, r.Secret)
	if !ok {
		return nil, errGrant
	}
	c, again := b.take(s)
	switch {
	case c == nil:
		return nil, errGrant
	case again:
		return nil, b.replayed(ctx, c, who)
	case c.client.ID != r.Client, c.redirect != r.Redirect, !oauth.Verify(r.Verifier, c.challenge):
		return nil, errGrant
	}
	tokens, g, err := b.make(ctx, c.allow)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	c.grant = g.ID
	replayed := c.replayed
	b.mu.Unlock()
	if replayed {
		return nil, b.replayed(ctx, c, who)
	}
	return tokens, nil
}

// take takes a code to redeem it; again says that somebody did before.
func (b *Book) take(s sum) (c *code, again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c = b.codes[s]
	if c == nil || !b.o.Clock.Now().Before(c.until) {
		return nil, false
	}
	again, c.spent = c.spent, true
	c.replayed = c.replayed || again
	return c, again
}

// replayed ends what a code got that came twice.
func (b *Book) replayed(ctx context.Context, c *code, who activity.Client) error {
	b.mu.Lock()
	id := c.grant
	c.grant = 0
	b.mu.Unlock()
	if id == 0 {
		return errGrant
	}
	var g row
	err := b.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
		g, err = readGrant(tx, `g.id = ?`, id)
		if err != nil {
			return err
		}
		return b.end(tx, &g.Grant, activity.TokenReused, who)
	})
	switch {
	case errors.Is(err, store.ErrNotFound): // it has ended
	case err != nil:
		return err
	default:
		b.stolen(&g.Grant, "a code was shown twice")
	}
	return errGrant
}
