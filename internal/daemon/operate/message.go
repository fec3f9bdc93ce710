package operate

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/arc"
	"gatepost/internal/clock"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/dkim"
	"gatepost/internal/keys"
	"gatepost/internal/verdict"
)

// Question is what to suppose of a message in a file.
type Question struct {
	Client   verdict.Client
	Time     time.Time        // when it came; zero: now
	Resolver []netip.AddrPort // whom to ask; none: the system's
	Trusted  []addr.Domain    // forwarders
}

// CheckMessage verifies who a message in a file is from. It needs no
// installation, so that no domain is its own.
func CheckMessage(ctx context.Context, q Question, message io.Reader) (*verdict.Verdict, error) {
	c := &verdict.Checker{
		Resolver: settings.ResolverOf(q.Resolver),
		Now:      clock.System.Now,
		IsOwn:    func(context.Context, addr.Domain) (bool, error) { return false, nil },
		Trusted:  q.Trusted,
	}
	if !q.Time.IsZero() {
		c.Now = func() time.Time { return q.Time }
	}
	return c.File(ctx, q.Client, message)
}

// Seal is how to seal a message in a file.
type Seal struct {
	KeyFile  string // a private key in PEM
	Domain   addr.Domain
	Selector string
	ID       string           // of the server whose Authentication-Results are believed
	Time     time.Time        // zero: now
	Resolver []netip.AddrPort // whom to ask; none: the system's
}

// maxSealed bounds a message to be sealed, in octets: it is read three times,
// and held in memory for it.
const maxSealed = 256 << 20

// ErrSealed says that a message is too large to be sealed.
var ErrSealed = errors.New("the message is larger than 256 MiB")

// SealMessage returns a message with an ARC set in front. It needs no
// installation.
func SealMessage(ctx context.Context, o Seal, message io.Reader) ([]byte, error) {
	signer, err := keys.ReadSigner(o.KeyFile)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(message, maxSealed+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxSealed {
		return nil, ErrSealed
	}
	f := &arc.Forwarder{
		Key:      dkim.SigningKey{Domain: o.Domain, Selector: o.Selector, Signer: signer},
		ID:       o.ID,
		Resolver: settings.ResolverOf(o.Resolver),
	}
	if o.Time.IsZero() {
		o.Time = clock.System.Now()
	}
	return f.Seal(ctx, content, o.Time)
}
