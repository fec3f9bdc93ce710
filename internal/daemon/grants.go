package daemon

import (
	"context"
	"crypto/rand"
	"net"
	"strconv"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/grant"
	"gatepost/internal/oauth"
)

// openGrants opens what programs were given in place of a password. It is
// there also where no more is given out: operators list and end what there is.
func (p *parts) openGrants(context.Context) error {
	p.grants = grant.New(grant.Options{
		Store: p.db, Clock: p.clock, Random: rand.Reader, Log: p.log, Note: p.guard.Book.Note,
		Ended: func(addr.Address, int64) {},
	})
	return nil
}

// issuer is what we are called by who gets tokens here: RFC 8414, section 2.
func (p *parts) issuer() string {
	host := string(p.hostname())
	if port := settings.WebPort(p.cfg.Listen.HTTPS, 443); port != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return "https://" + host
}

// tokens returns what account asks of tokens, nil where nobody signs in with
// them.
func (p *parts) tokens() account.Tokens {
	if !p.cfg.OAuth.Enabled {
		return nil
	}
	return tokens{p}
}

// tokens are the grants as account wants them.
type tokens struct{ *parts }

func (t tokens) Token(ctx context.Context, token string) (account.Token, bool, error) {
	g, ok, err := t.grants.Token(ctx, token)
	return account.Token{
		Account: g.Owner.ID, Login: g.Owner.Address.String(), Credential: g.Grant, Name: g.Name,
		Send: g.Scope.Send, Read: g.Scope.Read, Expires: g.Expires,
	}, ok, err
}

func (t tokens) Holds(ctx context.Context, id int64) (bool, error) { return t.grants.Holds(ctx, id) }

func (t tokens) Metadata() string { return t.issuer() + oauth.MetadataPath }
