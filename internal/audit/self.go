package audit

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gatepost/internal/clock"
	"gatepost/internal/keys"
	"gatepost/internal/resolve"
)

// Bounds of what is still good.
const (
	leastDisk     = 1 << 30 // octets free
	leastInodes   = 10000
	certificateIn = 14 * 24 * time.Hour // left before the certificate expires
	dialTime      = 10 * time.Second
)

// Self is this server, as far as it can be looked at without stopping it.
type Self struct {
	Site        Site
	Domains     []Domain
	DataDir     string
	Doors       []Door
	Certificate *x509.Certificate
	SelfSigned  bool                // nobody else vouches for the certificate
	Authority   bool                // an authority is asked for certificates (ACME)
	Others      []*x509.Certificate // that it issued for other names
	TLSA        *TLSA               // nil: there is no key, or it cannot be read
	KeyWarnings []string            // sentences about files with secrets
	Running     bool                // a server holds the data directory
	Smarthost   string              // that takes all mail to other servers; empty: none

	Resolver resolve.Resolver
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	Listen   func(network, address string) (net.Listener, error)
	Clock    clock.Clock
}

// Door is one address that the configuration listens on.
type Door struct {
	Name    string // its key, as "mx"
	Address string
}

// Check looks at everything, in the order in which a mail server fails.
func (s *Self) Check(ctx context.Context) []Finding {
	var list []Finding
	for _, check := range []func(context.Context) []Finding{
		s.doors, s.certificate, s.others, s.disk, s.time, s.name, s.reverse, s.records, s.tlsa, s.outbound,
	} {
		list = append(list, check(ctx)...)
	}
	return list
}

// doors tries what the configuration listens on: a running server must
// answer there, and without one the addresses must be free.
func (s *Self) doors(ctx context.Context) []Finding {
	var list []Finding
	for _, d := range s.Doors {
		check := "port." + d.Name
		if strings.HasPrefix(d.Address, "systemd:") {
			continue
		}
		if s.Running {
			list = append(list, s.answers(ctx, check, d))
			continue
		}
		ln, err := s.Listen("tcp", d.Address)
		switch {
		case errors.Is(err, unix.EACCES):
			list = append(list, failure(check, fmt.Sprintf("This user may not listen on %s (%s).", d.Address, d.Name),
				"Ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; start Gatepost with it, or as a service."))
		case errors.Is(err, unix.EADDRINUSE):
			list = append(list, failure(check, fmt.Sprintf("Another program listens on %s (%s).", d.Address, d.Name),
				"Find it with: ss -ltnp; stop it, or change the address in the configuration."))
		case err != nil:
			list = append(list, failure(check, fmt.Sprintf("Nothing can listen on %s (%s): %v.", d.Address, d.Name, err), "Change the address in the configuration."))
		default:
			ln.Close()
			list = append(list, ok(check, fmt.Sprintf("%s (%s) is free.", d.Address, d.Name)))
		}
	}
	return list
}

func (s *Self) answers(ctx context.Context, check string, d Door) Finding {
	host, port, _ := net.SplitHostPort(d.Address)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if err == nil && ip.Is6() {
			host = "::1"
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := s.Dial(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return failure(check, fmt.Sprintf("The server is running but does not answer on %s (%s).", d.Address, d.Name), "Look at its log.")
	}
	conn.Close()
	return ok(check, fmt.Sprintf("The server answers on %s (%s).", d.Address, d.Name))
}

func (s *Self) certificate(context.Context) []Finding {
	const check = "certificate"
	c := s.Certificate
	if c == nil {
		return []Finding{failure(check, "There is no certificate.", "Set [tls] in the configuration.")}
	}
	var list []Finding
	if f := s.ends(c, "The certificate"); f != nil {
		list = append(list, *f)
	}
	if c.VerifyHostname(string(s.Site.Hostname)) != nil {
		list = append(list, failure(check, fmt.Sprintf("The certificate is not for %s but for %s.", s.Site.Hostname, strings.Join(c.DNSNames, ", ")), "Get one for this name, or change hostname."))
	}
	if s.SelfSigned {
		list = append(list, s.selfSigned())
	}
	for _, w := range s.KeyWarnings {
		list = append(list, warning(check, w+".", "Mend the file's mode or its content."))
	}
	if len(list) == 0 {
		list = append(list, ok(check, fmt.Sprintf("The certificate is for %s and good until %s.", s.Site.Hostname, c.NotAfter.UTC().Format(time.DateOnly))))
	}
	return list
}

// selfSigned warns of a certificate that nobody vouches for.
func (s *Self) selfSigned() Finding {
	f := warning("certificate", "The certificate is self-signed: other servers encrypt to it without knowing whom they talk to, and mail clients ask their users.", "Set acme in [tls], or certificate and key to one that a public authority issued.")
	if s.Authority {
		f.Fix = "None has been issued yet, although [tls] acme is set: look for acme in the log."
	}
	return f
}

// ends tells of a certificate that ended or ends soon, nil for one that does
// not.
func (s *Self) ends(c *x509.Certificate, which string) *Finding {
	now, day := s.Clock.Now(), c.NotAfter.UTC().Format(time.DateOnly)
	fix := "Put a new one in place, then send the server SIGHUP."
	if s.Authority && !s.SelfSigned {
		fix = "It could not be renewed: look for acme in the log."
	}
	var f Finding
	switch {
	case !now.Before(c.NotAfter):
		f = failure("certificate", fmt.Sprintf("%s expired on %s.", which, day), fix)
	case keys.EndsSoon(c, certificateIn, now):
		f = warning("certificate", fmt.Sprintf("%s expires on %s.", which, day), fix)
	default:
		return nil
	}
	return &f
}

// others looks at the certificates for other names than the host's.
func (s *Self) others(context.Context) (list []Finding) {
	for _, c := range s.Others {
		if f := s.ends(c, "The certificate of "+strings.Join(c.DNSNames, ", ")); f != nil {
			list = append(list, *f)
		}
	}
	return list
}

// tlsa compares the TLSA records with the keys of this server.
func (s *Self) tlsa(ctx context.Context) []Finding {
	if s.TLSA == nil {
		return nil
	}
	return Compare(ctx, s.Resolver, s.TLSA.Records())
}

func (s *Self) disk(context.Context) []Finding {
	const check = "disk"
	var st unix.Statfs_t
	if err := unix.Statfs(s.DataDir, &st); err != nil {
		return []Finding{failure(check, fmt.Sprintf("The data directory %s cannot be looked at: %v.", s.DataDir, err), "Check that it exists and belongs to the user that runs Gatepost.")}
	}
	free := int64(st.Bavail) * st.Bsize
	switch {
	case free < leastDisk:
		return []Finding{failure(check, fmt.Sprintf("Only %d MiB are free in %s; mail is refused for now (452) when it is full.", free>>20, s.DataDir), "Make room, or move the data directory.")}
	case st.Files > 0 && st.Ffree < leastInodes:
		return []Finding{failure(check, fmt.Sprintf("Only %d more files fit into %s.", st.Ffree, s.DataDir), "Remove files, or move the data directory to another file system.")}
	}
	return []Finding{ok(check, fmt.Sprintf("%d GiB are free in %s.", free>>30, s.DataDir))}
}

// time asks the kernel whether anything keeps the clock right: signatures,
// certificates and one-time codes all depend on it.
func (s *Self) time(context.Context) []Finding {
	const check = "clock"
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err == nil && state == unix.TIME_ERROR {
		return []Finding{warning(check, "Nothing keeps this machine's clock right.", "Run a time service, such as systemd-timesyncd or chrony.")}
	}
	return []Finding{ok(check, "The clock is kept right.")}
}

// name checks that the greeting can be believed: the host name has addresses
// and they are those of this machine.
func (s *Self) name(ctx context.Context) []Finding {
	const check = "hostname"
	host := string(s.Site.Hostname)
	ips, err := resolve.Addrs(ctx, s.Resolver, host, true)
	switch {
	case errors.Is(err, resolve.ErrNotFound):
		return []Finding{failure(check, fmt.Sprintf("%s has no address in the DNS; other servers distrust a name that does not exist.", host), "Publish an A record (and AAAA, if you have IPv6) for it.")}
	case err != nil:
		return []Finding{warning(check, fmt.Sprintf("Nobody could say where %s is: %v.", host, err), "Try again later.")}
	}
	var list []Finding
	for _, ip := range s.Site.Addrs {
		if !slices.Contains(ips, ip) {
			list = append(list, warning(check, fmt.Sprintf("This machine has the address %s, which %s does not resolve to; mail sent from it would look forged.", ip, host), fmt.Sprintf("Publish it for %s, or list the addresses to send from in [remote] sources.", host)))
		}
	}
	if len(list) == 0 {
		list = append(list, ok(check, fmt.Sprintf("%s resolves to %s.", host, join(ips))))
	}
	return list
}

// reverse checks that each address leads back to the name: many servers
// refuse mail from an address that does not (RFC 1912, section 2.1).
func (s *Self) reverse(ctx context.Context) []Finding {
	const check = "reverse"
	host := string(s.Site.Hostname)
	ips, err := resolve.Addrs(ctx, s.Resolver, host, true)
	if err != nil {
		return nil // name has told
	}
	var list []Finding
	for _, ip := range ips {
		names, err := resolve.PTR(ctx, s.Resolver, ip)
		switch {
		case err != nil && !errors.Is(err, resolve.ErrNotFound):
			list = append(list, warning(check, fmt.Sprintf("Nobody could say which name %s has: %v.", ip, err), "Try again later."))
		case !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, host) }):
			has := "has no name"
			if len(names) > 0 {
				has = "is called " + strings.Join(names, ", ")
			}
			list = append(list, failure(check, fmt.Sprintf("%s %s, not %s; many servers refuse mail from it.", ip, has, host), fmt.Sprintf("Ask whoever gave you the address to set its reverse DNS to %s.", host)))
		default:
			list = append(list, ok(check, fmt.Sprintf("%s leads back to %s.", ip, host)))
		}
	}
	return list
}

func (s *Self) records(ctx context.Context) []Finding {
	var list []Finding
	for _, d := range s.Domains {
		for _, r := range s.Site.Records(d) {
			if r.Kind != KindAddress { // name has looked at those
				list = append(list, compare(ctx, s.Resolver, r))
			}
		}
	}
	return list
}

// wellKnown take mail for so many people that one of them answers whenever
// port 25 is open to the world.
var wellKnown = []string{"gmail.com", "outlook.com"}

// outbound tries to reach port 25 of the world, which many providers block.
func (s *Self) outbound(ctx context.Context) []Finding {
	const check = "outbound"
	if s.Smarthost != "" {
		return []Finding{ok(check, "All mail to other servers goes through "+s.Smarthost+".")}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*dialTime)
	defer cancel()
	var last error
	for _, domain := range wellKnown {
		mx, err := resolve.MX(ctx, s.Resolver, domain)
		if err != nil || len(mx) == 0 {
			last = err
			continue
		}
		ips, err := resolve.Addrs(ctx, s.Resolver, mx[0].Host, false)
		if err != nil || len(ips) == 0 {
			last = err
			continue
		}
		conn, err := s.Dial(ctx, "tcp", net.JoinHostPort(ips[0].String(), "25"))
		if err == nil {
			conn.Close()
			return []Finding{ok(check, "Port 25 of other servers can be reached.")}
		}
		last = err
	}
	return []Finding{failure(check, fmt.Sprintf("No other mail server can be reached on port 25 (%v).", last), "Many providers block it until asked: ask yours, or send through a smarthost ([[route]] with domain = \"*\").")}
}

func join(ips []netip.Addr) string {
	var b strings.Builder
	for i, ip := range ips {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(ip.String())
	}
	return b.String()
}
