package gate

import (
	"context"
	"fmt"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// rcpt is one RCPT on its way through the steps.
type rcpt struct {
	peer     *envelope.Peer
	envelope *envelope.Envelope
	asked    envelope.Recipient // as the client gave it, and as postmaster names it

	local      bool                 // asked.To is in a domain of ours
	recipients []envelope.Recipient // whom it stands for
}

// atRcpt are the steps from a forward-path to recipients.
var atRcpt = []func(*Gate, context.Context, *rcpt) error{
	(*Gate).namePostmaster,
	(*Gate).findDomain,
	(*Gate).refuseRelayForms,
	(*Gate).refuseRelaying,
	(*Gate).sendBack,
	(*Gate).resolve,
	(*Gate).checkRoom,
}

// namePostmaster gives a domain to the postmaster who is asked for without
// one (RFC 5321, section 4.1.1.3) or at our own address literal (section
// 4.5.1: wherever we are reached, postmaster is).
func (g *Gate) namePostmaster(_ context.Context, q *rcpt) error {
	to := &q.asked.To
	ip, literal := to.Domain.IP()
	switch {
	case to.Domain == "":
	case literal && ip.Unmap() == q.peer.Local.Addr().Unmap():
	default:
		return nil
	}
	if !strings.EqualFold(to.Local, "postmaster") {
		return envelope.Refuse(550, "5.1.1", "only postmaster can be reached without a domain name")
	}
	to.Domain = g.o.Hostname
	return nil
}

// findDomain finds out whether the address is in a domain of ours.
func (g *Gate) findDomain(ctx context.Context, q *rcpt) (err error) {
	q.local, err = g.o.Directory.IsLocal(ctx, q.asked.To.Domain)
	return err
}

// refuseRelayForms refuses addresses at a domain of ours whose local part
// asks to be sent on: user%other@here, other!user@here, "user@other"@here.
// Old servers obeyed them, and were open relays by it; also a catch-all must
// not take them, or a test for open relays would say that we do.
func (g *Gate) refuseRelayForms(_ context.Context, q *rcpt) error {
	if q.local && strings.ContainsAny(q.asked.To.Local, "%!@") {
		return envelope.Refuse(550, "5.7.1", "relaying denied: mail is not routed by what stands before the at sign")
	}
	return nil
}

// refuseRelaying is what keeps us from being an open relay: whoever has not
// signed in and is not listed in [relay] networks sends to our own domains
// and nowhere else. What the client says of its sender changes nothing.
func (g *Gate) refuseRelaying(_ context.Context, q *rcpt) error {
	if q.local || q.peer.Verified() {
		return nil
	}
	return envelope.Refuse(550, "5.7.1", fmt.Sprintf(
		"relaying denied: %s is not handled here; users send through the submission port after signing in",
		q.asked.To.Domain))
}

// resolve finds who is behind the address. Another server's address stands
// for itself; one behind an alias keeps in mind which.
func (g *Gate) resolve(ctx context.Context, q *rcpt) error {
	switch {
	case q.recipients != nil:
		return nil
	case !q.local:
		q.recipients = []envelope.Recipient{q.asked}
		return nil
	}
	targets, err := g.o.Directory.Resolve(ctx, q.asked.To)
	if err != nil {
		return err
	}
	for _, to := range targets {
		r := stand(q.asked, to)
		if to.Domain != q.asked.To.Domain {
			local, err := g.o.Directory.IsLocal(ctx, to.Domain)
			if err != nil {
				return err
			}
			if !local {
				r.Via = q.asked.To.Fold()
			}
		}
		q.recipients = append(q.recipients, r)
	}
	return nil
}

// stand returns the recipient that gets what was sent to asked. An alias
// passes on what the sender asked for, and keeps the address that they know
// as ORCPT: RFC 3461, section 5.2.7.
func stand(asked envelope.Recipient, to addr.Address) envelope.Recipient {
	r := asked
	r.To = to
	if r.ORcpt == "" && to.Fold() != asked.To.Fold() {
		r.ORcpt = originalRecipient(asked.To)
	}
	return r
}

// checkRoom refuses mail while the mailbox is too full for it, so that the
// sender hears of it at once. An alias is refused only when none of those
// behind it has room.
func (g *Gate) checkRoom(ctx context.Context, q *rcpt) error {
	if !q.local {
		return nil
	}
	for _, r := range q.recipients {
		room, err := g.hasRoom(ctx, r.To, q.envelope.Size)
		if err != nil || room {
			return err
		}
	}
	return envelope.Refuse(452, "4.2.2", "the mailbox is full; try again later")
}

// hasRoom is true for other servers' addresses: they decide.
func (g *Gate) hasRoom(ctx context.Context, to addr.Address, size int64) (bool, error) {
	local, err := g.o.Directory.IsLocal(ctx, to.Domain)
	if err != nil || !local {
		return true, err
	}
	return g.o.Mailboxes.HasRoom(ctx, to, size)
}
