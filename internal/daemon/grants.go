package daemon

import (
	"context"
	"crypto/rand"
	"net"
	"strconv"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/daemon/programs"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/grant"
	"gatepost/internal/oauthd"
)

// openGrants opens what programs were given in place of a password. It is
// there also where no more is given out: operators list and end what there is.
func (p *parts) openGrants(context.Context) error {
	p.programs = &programs.Programs{
		Issuer: p.issuer(),
		Grants: grant.New(grant.Options{
			Store: p.db, Clock: p.clock, Random: rand.Reader, Log: p.log, Note: p.guard.Book.Note,
			Ended: func(a addr.Address, id int64) {
				p.directory.End(account.Ended{Account: a, Credential: id})
			},
		}),
		Account: func(ctx context.Context, a addr.Address) (account.Account, error) { return p.directory.Account(ctx, a) },
	}
	return nil
}

// openOAuth adds to the console where programs get tokens.
func (s *Server) openOAuth(context.Context) error {
	if !s.cfg.OAuth.Enabled {
		return nil
	}
	door := oauthd.New(oauthd.Options{
		Console: s.console, Grants: s.parts.programs.Grants, Issuer: s.parts.programs.Issuer,
		Clock: s.parts.clock, Log: s.log, Locate: s.parts.guard.Locate,
	})
	for pattern, h := range door.Routes() {
		s.console.Handle(pattern, h)
	}
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
	return p.programs
}
