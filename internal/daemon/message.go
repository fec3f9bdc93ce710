package daemon

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/netip"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/resolve"
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
		Resolver: resolve.New(resolve.Options{
			Servers: q.Resolver, ResolvConf: systemResolvers, Dial: (&net.Dialer{}).DialContext,
			Random: rand.Reader, Clock: clock.System, CacheBytes: dnsCache,
		}),
		Now:     clock.System.Now,
		IsOwn:   func(context.Context, addr.Domain) (bool, error) { return false, nil },
		Trusted: q.Trusted,
	}
	if !q.Time.IsZero() {
		c.Now = func() time.Time { return q.Time }
	}
	return c.File(ctx, q.Client, message)
}
