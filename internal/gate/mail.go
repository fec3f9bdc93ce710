package gate

import (
	"context"
	"fmt"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// atMail are the checks of MAIL.
var atMail = []func(*Gate, context.Context, *envelope.Peer, *envelope.Envelope) error{
	(*Gate).ownReversePath,
	(*Gate).answerable,
}

// atData are the checks of a whole message.
var atData = []func(*Gate, context.Context, *envelope.Peer, *envelope.Envelope) error{
	(*Gate).countReturn,
	(*Gate).dailyLimit,
}

// ownReversePath lets a signed-in user send only from addresses that are
// theirs: a stolen password must not speak for a colleague. The null
// reverse-path is nobody's; then From decides (ownAuthor). From the world,
// any reverse-path is accepted, also one of our own domains: it gives no
// right to anything.
func (g *Gate) ownReversePath(ctx context.Context, p *envelope.Peer, e *envelope.Envelope) error {
	if p.Account == "" || e.From.IsNull() {
		return nil
	}
	return g.mustOwn(ctx, p, e.From, "sender of a message (MAIL FROM)")
}

// answerable refuses a sender whose domain says that it takes no mail: no
// answer and no bounce could reach anybody, and nobody sends so but in
// another's name (RFC 7505, section 4.2). Users and [relay] clients do not
// wait for the DNS.
func (g *Gate) answerable(ctx context.Context, p *envelope.Peer, e *envelope.Envelope) error {
	if p.Verified() || e.From.IsNull() || !g.o.Checker.TakesNoMail(ctx, e.From.Domain) {
		return nil
	}
	return envelope.Refuse(550, "5.7.27", fmt.Sprintf("%s takes no mail (null MX), so nobody there sends any", e.From.Domain))
}

// mustOwn refuses an address that the signed-in user may not send as.
func (g *Gate) mustOwn(ctx context.Context, p *envelope.Peer, from addr.Address, what string) error {
	owns, err := g.o.Directory.Owns(ctx, p.Account, from)
	if err != nil || owns {
		return err
	}
	return envelope.Refuse(550, "5.7.1", fmt.Sprintf(
		"%s is signed in and may not use %s as %s: send from your own address or one of your aliases",
		p.Account, from, what))
}

// dailyLimit counts the recipients of a message against what its account
// may send in a day. It is the last check, so that what is refused or broken
// off before costs nothing, and is hard: a message is sent to all of its
// recipients or to none, and what was counted is not given back.
func (g *Gate) dailyLimit(ctx context.Context, p *envelope.Peer, e *envelope.Envelope) error {
	if p.Account == "" {
		return nil
	}
	return g.o.Directory.Spend(ctx, p.Account, len(e.Recipients))
}
