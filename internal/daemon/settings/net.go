package settings

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/dnsupdate"
	"gatepost/internal/resolve"
)

// systemResolvers is where the system names its resolvers.
const systemResolvers = "/etc/resolv.conf"

// SMTPPort is where mail servers listen for one another: RFC 5321, section
// 4.5.4.2.
const SMTPPort = 25

// dnsCache bounds the memory for answers of the DNS, in octets.
const dnsCache = 32 << 20

// Resolver returns how the DNS is asked.
func Resolver(cfg *config.Config, c clock.Clock) (resolve.Options, error) {
	o := resolve.Options{
		ResolvConf: systemResolvers, Random: rand.Reader, Clock: c, CacheBytes: dnsCache,
		Dial: (&net.Dialer{}).DialContext,
	}
	var err error
	if o.Servers, err = addrPorts(cfg.DNS.Resolvers); err != nil {
		return o, err
	}
	o.TrustAD, err = addrPorts(cfg.DNS.TrustAD)
	return o, err
}

func addrPorts(list []string) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, s := range list {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, fmt.Errorf("resolver %s: %w", s, err)
		}
		out = append(out, ap)
	}
	return out, nil
}

// Updater returns what changes records in the DNS, nil if the configuration
// names no server for it. Each call reads the key anew.
func Updater(cfg *config.Config) (*dnsupdate.Client, error) {
	u := cfg.DNS.Update
	if u.Server == "" {
		return nil, nil
	}
	line, err := ReadPassword(cfg.Path(u.KeyFile))
	if err != nil {
		return nil, fmt.Errorf("dns.update.key_file: %w", err)
	}
	secret, err := dnsupdate.ParseSecret(line)
	if err != nil {
		return nil, fmt.Errorf("dns.update.key_file: %s: %w", u.KeyFile, err)
	}
	return dnsupdate.New(dnsupdate.Options{
		Server: u.Server, Key: u.Key, Algorithm: u.Algorithm, Secret: secret,
		Dial: (&net.Dialer{}).DialContext, Clock: clock.System,
	})
}

// MachineAddrs returns the addresses of this machine's interfaces.
func MachineAddrs() []netip.Addr {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil // it only widens what is taken for somebody else
	}
	var out []netip.Addr
	for _, a := range list {
		if p, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(p.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}

// OwnAddrs returns where an MX record would lead to ourselves: the addresses
// on which we take mail on the port of SMTP.
func OwnAddrs(cfg *config.Config) []netip.Addr {
	var out []netip.Addr
	for _, a := range cfg.Listen.MX {
		host, p, err := net.SplitHostPort(a)
		if err != nil || p != strconv.Itoa(SMTPPort) {
			continue
		}
		if ip, err := netip.ParseAddr(host); err == nil && !ip.IsUnspecified() {
			out = append(out, ip.Unmap())
		} else {
			out = append(out, MachineAddrs()...)
		}
	}
	return out
}

// Port returns the port of the first address that has one.
func Port(list []string) int {
	for _, a := range list {
		if _, p, err := net.SplitHostPort(a); err == nil {
			n, _ := strconv.Atoi(p)
			return n
		}
	}
	return 0
}

// ResolverOf asks the given servers, or the system's.
func ResolverOf(servers []netip.AddrPort) resolve.Resolver {
	return resolve.New(resolve.Options{
		Servers: servers, ResolvConf: systemResolvers, Dial: (&net.Dialer{}).DialContext,
		Random: rand.Reader, Clock: clock.System, CacheBytes: dnsCache,
	})
}

// TLSPorts returns the ports at which the world meets the host's certificate.
func TLSPorts(cfg *config.Config) (list []uint16) {
	if len(cfg.Listen.MX) > 0 {
		list = append(list, SMTPPort)
	}
	for _, p := range []int{WebPort(cfg.Listen.Submissions, 465), WebPort(cfg.Listen.Submission, 587)} {
		if p != 0 {
			list = append(list, uint16(p))
		}
	}
	return list
}

// WebPort returns the port of a door of HTTP, 0 if it is shut. One of
// systemd's is taken to be where everybody looks.
func WebPort(list []string, usual int) int {
	if len(list) == 0 {
		return 0
	}
	if p := Port(list); p != 0 {
		return p
	}
	return usual
}

// WebHost returns the host that the doors of HTTP listen on.
func WebHost(lists ...[]string) string {
	for _, list := range lists {
		for _, a := range list {
			if host, _, err := net.SplitHostPort(a); err == nil {
				return host
			}
		}
	}
	return ""
}
