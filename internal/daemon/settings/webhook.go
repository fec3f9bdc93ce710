package settings

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"gatepost/internal/config"
	"gatepost/internal/hook"
	"gatepost/internal/lock"
	"gatepost/internal/reach"
	"gatepost/internal/resolve"
)

// Network is what connections are made with.
type Network struct {
	Resolver resolve.Resolver
	// Dial opens a TCP connection to an address, which has been checked.
	Dial func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	Now  func() time.Time
}

// Webhook returns where alerts are posted to, nil for nowhere. It reads the
// secret anew.
func Webhook(cfg *config.Config, n Network) (*hook.Sink, error) {
	a := cfg.Alerts
	if a.Webhook == "" {
		return nil, nil
	}
	line, err := ReadPassword(cfg.Path(a.WebhookSecretFile))
	if err != nil {
		return nil, fmt.Errorf("alerts.webhook_secret_file: %w", err)
	}
	secret, err := hook.ParseSecret(line)
	if err != nil {
		return nil, fmt.Errorf("alerts.webhook_secret_file: %w", err)
	}
	roots, err := Roots(cfg.Path(cfg.TLS.Roots))
	if err != nil {
		return nil, err
	}
	return hook.NewSink(hook.SinkOptions{
		URL: a.Webhook, Secret: secret, Dial: n.hookDial(cfg), Roots: roots, Now: n.Now,
	}), nil
}

// hookDial connects where mail may be sent to; in the clear, only to networks
// that the operator listed.
func (n Network) hookDial(cfg *config.Config) func(context.Context, string, string) (net.Conn, error) {
	guard := reach.Guard{Private: cfg.Remote.Private}
	u, err := url.Parse(cfg.Alerts.Webhook)
	plain := err != nil || !strings.EqualFold(u.Scheme, "https")
	d := &reach.Dialer{
		Guard: guard, Resolver: n.Resolver, IPv6: cfg.Remote.IPv6,
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			if plain && !guard.Lists(to.Addr()) {
				return nil, fmt.Errorf("%s: http is for networks of [remote] private only", to.Addr())
			}
			return n.Dial(ctx, to)
		},
	}
	return d.DialContext
}

// LockURL is where the links in alerts lead; empty if no door is open that
// they could lead to.
func LockURL(cfg *config.Config) string {
	port := WebPort(cfg.Listen.HTTPS, 443)
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
