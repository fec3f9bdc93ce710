package gate

import (
	"context"
	"fmt"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
)

// atHeader are the checks of a header section.
var atHeader = []func(*Gate, context.Context, *envelope.Peer, *envelope.Envelope, []byte) error{
	(*Gate).ownAuthor,
	(*Gate).ownSender,
	(*Gate).noCircle,
}

// ownAuthor lets a signed-in user write only as themselves. The header must
// be sound and have at most one From field: readers differ in what they make
// of any other, and the author that people see must be the one that was
// checked. A missing field is added later (edit). Mail from the world is
// taken as it is.
func (g *Gate) ownAuthor(ctx context.Context, p *envelope.Peer, _ *envelope.Envelope, header []byte) error {
	if p.Account == "" {
		return nil
	}
	list, err := authors(header)
	if err != nil {
		return envelope.Fail(err, 550, "5.6.0", fmt.Sprintf("the header of the message is not valid: %v", err))
	}
	return g.mustOwnAll(ctx, p, list, "author of a message (From)")
}

// authors returns the addresses in From, none if the field is missing.
func authors(header []byte) ([]addr.Address, error) {
	if message.Has(header, "From") {
		return message.Senders(header)
	}
	return nil, message.Check(header)
}

// ownSender is ownAuthor for Sender, which most readers show too.
func (g *Gate) ownSender(ctx context.Context, p *envelope.Peer, _ *envelope.Envelope, header []byte) error {
	field, ok := message.Find(header, "Sender")
	if p.Account == "" || !ok {
		return nil
	}
	// RFC 5322, section 3.6.2: one field, one mailbox.
	list, err := message.Addresses(field.Value())
	if err != nil || len(list) != 1 || message.Count(header, "Sender") > 1 {
		return envelope.Fail(err, 550, "5.6.0", "the Sender of a message must be a single address")
	}
	return g.mustOwnAll(ctx, p, list, "sender of a message (Sender)")
}

// waivesTLS reports whether a header asks that the message go out even where
// what the recipients' domains ask of TLS cannot be met: RFC 8689, section 3.
// The field must be there once and say "No"; any other waives nothing. It is
// believed of our users alone: a stranger's must not open what our own policy
// closes.
func waivesTLS(header []byte) bool {
	f, ok := message.Find(header, "TLS-Required")
	return ok && message.Count(header, "TLS-Required") == 1 && strings.EqualFold(strings.TrimSpace(f.Value()), "No")
}

func (g *Gate) mustOwnAll(ctx context.Context, p *envelope.Peer, list []addr.Address, what string) error {
	for _, a := range list {
		if err := g.mustOwn(ctx, p, a, what); err != nil {
			return err
		}
	}
	return nil
}
