package daemon

import (
	"context"
	"net"
	"net/netip"

	"gatepost/internal/config"
	"gatepost/internal/daemon/guard"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/hook"
)

// setHooks takes what a configuration says of webhooks. One that cannot be
// used keeps what it is to be told, and nobody from their mail.
func (p *parts) setHooks(cfg *config.Config) {
	sink, err := settings.Webhook(cfg, settings.Network{
		Resolver: p.resolver, Now: p.clock.Now,
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) { return dial(ctx, netip.Addr{}, to) },
	})
	if err != nil {
		p.log.Error("the webhook of alerts cannot be used; what it is to be told waits", "error", err)
		sink = hook.Broken(err)
	}
	p.guard.Hooks.Set(guard.AlertHook, sink)
}
