package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/dnsupdate"
	"gatepost/internal/passwords"
)

// The values of [[sender]] failure.
const (
	FailureAccept = "accept"
	FailureJunk   = "junk"
	FailureReject = "reject"
)

// The values of [[route]] tls.
const (
	TLSVerify        = "verify"
	TLSRequire       = "require"
	TLSOpportunistic = "opportunistic"
	TLSNone          = "none"
)

// validate checks what types alone do not, in the order of the file, and
// returns the first contradiction.
func (c *Config) validate() error {
	for _, check := range []func() error{
		c.checkHostname, c.checkListen, c.checkTLS, c.checkDNS, c.checkRelay, c.checkTrusted, c.checkSenders, c.checkRemote, c.checkPassword, c.checkFactor, c.checkActivity, c.checkAlerts, c.checkOAuth, c.checkRoutes, c.checkLimits,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkHostname() error {
	if c.Hostname == "" {
		return c.at("hostname", "it is missing; it is the name that this server greets with, such as mx.example.org")
	}
	d, err := addr.ParseDomain(c.Hostname)
	if err != nil {
		return c.at("hostname", "%q is not a host name", c.Hostname)
	}
	if _, literal := d.IP(); literal {
		return c.at("hostname", "it must be a name, not an address")
	}
	c.Hostname = string(d)
	if c.Data == "" {
		return c.at("data", "it must not be empty; \".\" is the directory of this file")
	}
	return nil
}

func (c *Config) checkListen() error {
	v := reflect.ValueOf(c.Listen)
	seen := map[string]string{}
	for i := range v.NumField() {
		key := "listen." + v.Type().Field(i).Tag.Get("toml")
		for _, a := range v.Field(i).Interface().([]string) {
			if err := checkListenAddress(a); err != nil {
				return c.at(key, "%v", err)
			}
			_, port, _ := net.SplitHostPort(a)
			if other, taken := seen[a]; taken && port != "0" {
				return c.at(key, "%s is already used by %s", a, other)
			}
			seen[a] = key
		}
	}
	return nil
}

func checkListenAddress(a string) error {
	if name, ok := strings.CutPrefix(a, "systemd:"); ok && name != "" {
		return nil
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return fmt.Errorf("%q is not an address to listen on; write it like \":25\" or \"192.0.2.1:25\"", a)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no valid port", a)
	} else if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return fmt.Errorf("%q: %s is not an IP address (port %d)", a, host, n)
	}
	return nil
}

func (c *Config) checkTLS() error {
	t := c.TLS
	switch {
	case t.Certificate != "" && t.Key == "":
		return c.at("tls.certificate", "it needs key, the file of its private key")
	case t.Key != "" && t.Certificate == "":
		return c.at("tls.key", "it needs certificate, the file of its certificate")
	case t.SelfSigned && t.Certificate != "":
		return c.at("tls.self_signed", "it contradicts certificate; remove one of them")
	case t.SelfSigned && t.ACME != "":
		return c.at("tls.self_signed", "it contradicts acme; remove one of them")
	case t.ACME != "" && t.Certificate != "":
		return c.at("tls.acme", "it contradicts certificate; remove one of them")
	case t.ACMERoots != "" && t.ACME == "":
		return c.at("tls.acme_roots", "it needs acme")
	}
	return nil
}

func (c *Config) checkDNS() error {
	for key, list := range map[string][]string{"dns.resolvers": c.DNS.Resolvers, "dns.trust_ad": c.DNS.TrustAD} {
		for i, r := range list {
			full, err := resolverAddress(r)
			if err != nil {
				return c.at(key, "%v", err)
			}
			list[i] = full
		}
	}
	return c.checkUpdate()
}

func (c *Config) checkUpdate() error {
	u := &c.DNS.Update
	if u.Server == "" {
		if u.Key != "" || u.KeyFile != "" {
			return c.at("dns.update", "it needs server, the primary name server of the zones")
		}
		return nil
	}
	full, err := resolverAddress(u.Server)
	if err != nil {
		return c.at("dns.update.server", "%q is not a name server; write it like \"192.0.2.53:53\"", u.Server)
	}
	u.Server = full
	switch {
	case u.Key == "":
		return c.at("dns.update", "it needs key, the name of the key")
	case u.KeyFile == "":
		return c.at("dns.update", "it needs key_file, the file of the key")
	}
	if err := dnsupdate.CheckAlgorithm(u.Algorithm); err != nil {
		return c.at("dns.update.algorithm", "%v", err)
	}
	return nil
}

// resolverAddress adds the port that a resolver was given without.
func resolverAddress(r string) (string, error) {
	if ip, err := netip.ParseAddr(r); err == nil {
		return netip.AddrPortFrom(ip, 53).String(), nil
	}
	ap, err := netip.ParseAddrPort(r)
	if err != nil || ap.Port() == 0 {
		return "", fmt.Errorf("%q is not a resolver; write it like \"127.0.0.1:53\"", r)
	}
	return ap.String(), nil
}

// checkRelay refuses the network that holds everybody: an open relay is on
// every block list within the hour.
func (c *Config) checkRelay() error {
	for _, n := range c.Relay.Networks {
		if n.Bits() == 0 {
			return c.at("relay.networks", "%s is everybody; that would be an open relay", n)
		}
	}
	for setting, list := range map[string][]netip.Prefix{"front.proxies": c.Front.Proxies, "front.xclient": c.Front.XClient} {
		for _, n := range list {
			if n.Bits() == 0 {
				return c.at(setting, "%s is everybody; then nobody's address could be believed", n)
			}
		}
	}
	return nil
}

func (c *Config) checkTrusted() error {
	for i, f := range c.Trusted.Forwarders {
		d, err := domainName(f)
		if err != nil {
			return c.at("trusted.forwarders", "%v", err)
		}
		c.Trusted.Forwarders[i] = d
	}
	return nil
}

func (c *Config) checkSenders() error {
	seen := map[string]bool{}
	for i := range c.Sender {
		s, at := &c.Sender[i], fmt.Sprintf("sender.%d", i)
		if s.Domain != "*" {
			d, err := domainName(s.Domain)
			if err != nil {
				return c.at(at+".domain", "%v", err)
			}
			s.Domain = d
		}
		if seen[s.Domain] {
			return c.at(at+".domain", "%s has a choice already", s.Domain)
		}
		seen[s.Domain] = true
		switch s.Failure {
		case FailureAccept, FailureJunk, FailureReject:
		default:
			return c.at(at+".failure", "%q is none of accept, junk and reject", s.Failure)
		}
	}
	return nil
}

// domainName returns a domain as it is in the DNS.
func domainName(s string) (string, error) {
	d, err := addr.ParseDomain(s)
	if _, literal := d.IP(); err != nil || literal {
		return "", fmt.Errorf("%q is not a domain", s)
	}
	return string(d), nil
}

// checkRemote refuses a default below opportunistic: nobody is served by mail
// in the clear where TLS is to be had.
func (c *Config) checkRemote() error {
	switch c.Remote.TLS {
	case TLSVerify, TLSRequire, TLSOpportunistic:
		return nil
	}
	return c.at("remote.tls", "%q is not one of opportunistic, require, verify", c.Remote.TLS)
}

// checkPassword refuses what would make passwords worse than no policy.
func (c *Config) checkPassword() error {
	p := c.Password
	for _, b := range []struct {
		key            string
		n, least, most int
	}{
		{"min_length", p.MinLength, passwords.Floor, passwords.Ceiling},
		{"strength", p.Strength, 0, passwords.MaxStrength},
		{"history", p.History, 0, passwords.MaxHistory},
	} {
		if b.n < b.least || b.n > b.most {
			return c.at("password."+b.key, "it must be from %d to %d", b.least, b.most)
		}
	}
	for i, s := range p.Require {
		if _, err := passwords.ParseClass(s); err != nil {
			return c.at("password.require", "%v", err)
		}
		if slices.Contains(p.Require[:i], s) {
			return c.at("password.require", "%q is there twice", s)
		}
	}
	if p.MaxAge != 0 && p.MaxAge < Span(day) {
		return c.at("password.max_age", "it must be at least 1d, or 0 for never")
	}
	return nil
}

func (c *Config) checkOAuth() error {
	if c.OAuth.Enabled && len(c.Listen.HTTPS) == 0 {
		return c.at("oauth.enabled", "it needs listen.https, where programs get their tokens")
	}
	return nil
}

func (c *Config) checkFactor() error {
	for i, s := range c.Factor.Required {
		if s != "admin" && s != "user" {
			return c.at("factor.required", "%q is not one of admin, user", s)
		}
		if slices.Contains(c.Factor.Required[:i], s) {
			return c.at("factor.required", "%q is there twice", s)
		}
	}
	return nil
}

// leastKept is the shortest time that activity is kept: what is not there
// when somebody looks in the morning serves nobody.
const leastKept = Span(day)

func (c *Config) checkActivity() error {
	if c.Activity.Kept < leastKept {
		return c.at("activity.kept", "it must be at least %s", leastKept)
	}
	return nil
}

func (c *Config) checkAlerts() error {
	a := c.Alerts
	switch {
	case a.Webhook == "" && a.WebhookSecretFile == "":
		return nil
	case a.Webhook == "":
		return c.at("alerts.webhook_secret_file", "it needs webhook")
	case a.WebhookSecretFile == "":
		return c.at("alerts.webhook", "it needs webhook_secret_file: nobody could tell its posts from forged ones")
	}
	u, err := url.Parse(a.Webhook)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "":
		return c.at("alerts.webhook", "it is not an address such as \"https://host.example/path\"") // which may hold a secret
	case u.User != nil:
		return c.at("alerts.webhook", "it must hold no user and password; posts are known by their signature")
	case u.Scheme == "http" && len(c.Remote.Private) == 0:
		return c.at("alerts.webhook", "http is for a network of [remote] private only; it must be https")
	}
	return nil
}

func (c *Config) checkRoutes() error {
	seen := map[string]bool{}
	for i := range c.Route {
		key := fmt.Sprintf("route.%d", i)
		r := &c.Route[i]
		if err := c.checkRoute(key, r); err != nil {
			return err
		}
		if seen[r.Domain] {
			return c.at(key+".domain", "there is already a route for %s", r.Domain)
		}
		seen[r.Domain] = true
	}
	return nil
}

func (c *Config) checkRoute(key string, r *Route) error {
	if r.Domain == "" {
		return c.at(key+".domain", "it is missing; it is the domain that the route is for, or \"*\"")
	}
	if r.Domain != "*" {
		d, err := addr.ParseDomain(r.Domain)
		if err != nil {
			return c.at(key+".domain", "%q is not a domain", r.Domain)
		}
		r.Domain = string(d)
	}
	if r.Via == "" {
		return c.at(key+".via", "it is missing; it is the address or host to deliver to")
	}
	if err := checkVia(r.Via); err != nil {
		return c.at(key+".via", "%v", err)
	}
	switch r.TLS {
	case "":
		r.TLS = TLSOpportunistic
		if r.User != "" {
			r.TLS = TLSVerify
		}
	case TLSVerify, TLSRequire, TLSOpportunistic, TLSNone:
	default:
		return c.at(key+".tls", "%q is not one of verify, require, opportunistic, none", r.TLS)
	}
	switch {
	case r.User != "" && r.TLS != TLSVerify:
		return c.at(key+".tls", "a password is only sent over verified TLS; with user it must be \"verify\"")
	case r.User != "" && r.PasswordFile == "" && r.OAuth2 == "":
		return c.at(key+".user", "it needs password_file")
	case r.User == "" && r.PasswordFile != "":
		return c.at(key+".password_file", "it needs user")
	}
	return nil
}

// checkVia accepts a host or address, with or without port.
func checkVia(via string) error {
	host := via
	if h, port, err := net.SplitHostPort(via); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q has no valid port", via)
		}
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return nil
	}
	if _, err := addr.ParseDomain(host); err != nil || strings.HasPrefix(host, "[") {
		return fmt.Errorf("%q is not a host or address", via)
	}
	return nil
}

// atLeast are the limits below which the server could not work, or could not
// keep to its standards.
var atLeast = map[string]int64{
	"message_size":            64 << 10, // RFC 5321, section 4.5.3.1.7
	"header_size":             16 << 10,
	"recipients":              100, // RFC 5321, section 4.5.3.1.8
	"inline_body":             4 << 10,
	"segment_size":            1 << 20,
	"scram_for_passwords":     0,
	"sending_per_day":         0,
	"quota":                   0,
	"idle_connections":        0,
	"data_rate":               0,
	"drain":                   0,
	"connections_per_address": 1,
}

func (c *Config) checkLimits() error {
	v := reflect.ValueOf(c.Limits)
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("toml")
		least, ok := atLeast[name]
		if !ok {
			least = 1
		}
		if f := v.Field(i); f.CanInt() && f.Int() < least {
			return c.at("limits."+name, "it must be at least %d", least)
		}
	}
	l := c.Limits
	if l.InlineBody*4 > l.SegmentSize {
		return c.at("limits.inline_body", "it must be at most a quarter of segment_size (%s)", l.SegmentSize)
	}
	return nil
}
