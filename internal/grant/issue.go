package grant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/oauth"
	"gatepost/internal/store"
)

// allow is what somebody consented to.
type allow struct {
	owner  Owner
	client Client
	scope  oauth.Scope
	who    activity.Client // the browser that they did it with
}

// make makes a grant with its first tokens.
func (b *Book) make(ctx context.Context, a allow) (*oauth.Tokens, Grant, error) {
	now := b.o.Clock.Now()
	refresh, family, s, err := newRefresh(b.o.Random, nil)
	if err != nil {
		return nil, Grant{}, err
	}
	g := Grant{Owner: a.owner, Client: a.client.ID, Name: a.client.Name, Scope: a.scope}
	var tokens *oauth.Tokens
	err = b.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if err := b.room(tx, &g, now); err != nil {
			return err
		}
		if g.ID, err = tx.NextID("credential"); err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO oauth_grant (id, account, client, name, send, reading, family, refresh, created, used, ends)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, g.ID, g.Owner.ID, g.Client, g.Name, number(g.Scope.Send), number(g.Scope.Read),
			family[:], s[:], now.Unix(), now.Unix(), now.Add(grantLife).Unix()); err != nil {
			return err
		}
		if tokens, err = b.access(tx, g.ID, g.Scope, now); err != nil {
			return err
		}
		return b.note(tx, activity.GrantAdded, &g, a.who)
	})
	if err != nil {
		return nil, g, err
	}
	tokens.Refresh = refresh
	return tokens, g, nil
}

// room removes what ran out, and reports why an account can have no further
// grant. The account must be there and not frozen, and the program known: it may
// have been otherwise when the owner consented.
func (b *Book) room(tx *store.Tx, g *Grant, now time.Time) error {
	known, err := readClients(tx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(slices.Concat(builtIn, known), func(c Client) bool { return c.ID == g.Client }) {
		return errGrant
	}
	if _, err := tx.Exec(`DELETE FROM oauth_access WHERE grant_id IN (SELECT id FROM oauth_grant WHERE ends <= ?)`, now.Unix()); err != nil {
		return err
	}
	if _, err := tx.Exec(`DELETE FROM oauth_grant WHERE ends <= ?`, now.Unix()); err != nil {
		return err
	}
	var frozen, n int64
	err = tx.QueryRow(`SELECT a.frozen, COUNT(g.id) FROM account a LEFT JOIN oauth_grant g ON g.account = a.id
		WHERE a.id = ? GROUP BY a.frozen`, g.Owner.ID).Scan(&frozen, &n)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errGrant
	case err != nil:
		return err
	case frozen != 0:
		return errGrant
	case n >= maxGrants:
		return &oauth.Error{Code: oauth.AccessDenied, Text: fmt.Sprintf("the account has %d programs, which is the most", n)}
	}
	return nil
}

// access makes an access token of a grant.
func (b *Book) access(tx *store.Tx, grant int64, scope oauth.Scope, now time.Time) (*oauth.Tokens, error) {
	token, s, err := newSecret(b.o.Random, accessPrefix)
	if err != nil {
		return nil, err
	}
	if _, err := tx.Exec(`DELETE FROM oauth_access WHERE grant_id = ? AND (expires <= ? OR token NOT IN
		(SELECT token FROM oauth_access WHERE grant_id = ? ORDER BY made DESC, token LIMIT ?))`,
		grant, now.Unix(), grant, int64(maxAccess-1)); err != nil {
		return nil, err
	}
	if _, err := tx.Exec(`INSERT INTO oauth_access (token, grant_id, send, reading, made, expires) VALUES (?, ?, ?, ?, ?, ?)`,
		s[:], grant, number(scope.Send), number(scope.Read), now.UnixNano(), now.Add(accessLife).Unix()); err != nil {
		return nil, err
	}
	return &oauth.Tokens{Access: token, Type: "Bearer", Expires: int64(accessLife / time.Second), Scope: scope.String()}, nil
}

// Refresh exchanges a refresh token for new tokens. scope, if it is not nil,
// is less than what the grant has.
func (b *Book) Refresh(ctx context.Context, token, client string, scope *oauth.Scope, who activity.Client) (*oauth.Tokens, error) {
	family, of, s, ok := readRefresh(token)
	if !ok {
		return nil, errGrant
	}
	fresh, _, next, err := newRefresh(b.o.Random, family)
	if err != nil {
		return nil, err
	}
	var tokens *oauth.Tokens
	var stolen *Grant
	err = b.o.Store.Update(ctx, func(tx *store.Tx) (err error) {
		tokens, stolen = nil, nil
		now := b.o.Clock.Now()
		g, err := readGrant(tx, `g.family = ?`, of[:])
		switch {
		case errors.Is(err, store.ErrNotFound):
			return errGrant
		case err != nil:
			return err
		case g.Client != client || g.frozen || !now.Before(g.Ends):
			return errGrant
		case !s.is(g.refresh):
			// It was exchanged before: either the one who has it now stole it,
			// or the one who exchanged it did. Neither keeps anything.
			stolen = &g.Grant
			return b.end(tx, &g.Grant, activity.TokenReused, who)
		}
		if scope == nil {
			scope = &g.Scope
		}
		if !scope.Within(g.Scope) {
			return &oauth.Error{Code: oauth.InvalidScope, Text: "that is more than was allowed"}
		}
		if _, err := tx.Exec(`UPDATE oauth_grant SET refresh = ?, used = ?, ends = ? WHERE id = ?`,
			next[:], now.Unix(), now.Add(grantLife).Unix(), g.ID); err != nil {
			return err
		}
		tokens, err = b.access(tx, g.ID, *scope, now)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case stolen != nil:
		b.stolen(stolen, "a refresh token was shown twice")
		return nil, errGrant
	}
	tokens.Refresh = fresh
	return tokens, nil
}

// stolen tells of a grant that was ended because somebody else has a secret of
// it.
func (b *Book) stolen(g *Grant, why string) {
	b.o.Log.Warn("the grant of a program was ended", "reason", why, "account", g.Owner.Address.String(), "grant", g.ID)
	b.o.Ended(g.Owner.Address, g.ID)
}

// Revoke ends the grant that a token is of, at the wish of its program: RFC
// 7009, section 2.1. A token that is nobody's is no error (section 2.2), and
// one of another program is treated alike.
func (b *Book) Revoke(ctx context.Context, token, client string, who activity.Client) error {
	where, key := `g.family = ?`, sum{}
	if s, ok := sumOf(accessPrefix, token); ok {
		where, key = `g.id = (SELECT grant_id FROM oauth_access WHERE token = ?)`, s
	} else if _, of, _, ok := readRefresh(token); ok {
		key = of
	} else {
		return nil
	}
	var ended *Grant
	err := b.o.Store.Update(ctx, func(tx *store.Tx) error {
		ended = nil
		g, err := readGrant(tx, where, key[:])
		if errors.Is(err, store.ErrNotFound) || err == nil && g.Client != client {
			return nil
		}
		if err != nil {
			return err
		}
		ended = &g.Grant
		return b.end(tx, ended, activity.GrantRemoved, who)
	})
	if err == nil && ended != nil {
		b.o.Ended(ended.Owner.Address, ended.ID)
	}
	return err
}
