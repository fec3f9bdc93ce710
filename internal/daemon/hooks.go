package daemon

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"gatepost/internal/config"
	"gatepost/internal/daemon/guard"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/hook"
	"gatepost/internal/lock"
	"gatepost/internal/reach"
)

// setHooks takes what a configuration says of webhooks. One that cannot be
// used keeps what it is to be told, and nobody from their mail.
func (p *parts) setHooks(cfg *config.Config) {
	sink, err := p.webhook(cfg)
	if err != nil {
		p.log.Error("the webhook of alerts cannot be used; what it is to be told waits", "error", err)
		sink = hook.Broken(err)
	}
	p.guard.Hooks.Set(guard.AlertHook, sink)
}

// webhook returns the sink of alerts, nil if there is none.
func (p *parts) webhook(cfg *config.Config) (*hook.Sink, error) {
	a := cfg.Alerts
	if a.Webhook == "" {
		return nil, nil
	}
	line, err := settings.ReadPassword(cfg.Path(a.WebhookSecretFile))
	if err != nil {
		return nil, fmt.Errorf("alerts.webhook_secret_file: %w", err)
	}
	secret, err := hook.ParseSecret(line)
	if err != nil {
		return nil, fmt.Errorf("alerts.webhook_secret_file: %w", err)
	}
	roots, err := settings.Roots(cfg.Path(cfg.TLS.Roots))
	if err != nil {
		return nil, err
	}
	return hook.NewSink(hook.SinkOptions{
		URL: a.Webhook, Secret: secret, Dial: p.hookDial(cfg), Roots: roots, Now: p.clock.Now,
	}), nil
}

// hookDial connects where mail may be sent to; in the clear, only to networks
// that the operator listed.
func (p *parts) hookDial(cfg *config.Config) func(context.Context, string, string) (net.Conn, error) {
	guard := reach.Guard{Private: cfg.Remote.Private}
	u, err := url.Parse(cfg.Alerts.Webhook)
	plain := err != nil || !strings.EqualFold(u.Scheme, "https")
	d := &reach.Dialer{
		Guard: guard, Resolver: p.resolver, IPv6: cfg.Remote.IPv6,
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if plain && !guard.Lists(to.Addr()) {
				return nil, fmt.Errorf("%s: http is for networks of [remote] private only", to.Addr())
			}
			return dial(ctx, netip.Addr{}, to)
		},
	}
	return d.DialContext
}

// lockURL is where the links in alerts lead; empty if no door is open that
// they could lead to.
func lockURL(cfg *config.Config) string {
	port := settings.WebPort(cfg.Listen.HTTPS, 443)
	host := cfg.Hostname
	switch port {
	case 0:
		return ""
	case 443:
	default:
		host = fmt.Sprintf("%s:%d", host, port)
	}
	return "https://" + host + lock.Path
}
