package resolve

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// Bounds of asking.
const (
	// udpSize is what fits everywhere without fragments, which could be
	// replaced on the way: RFC 9715, section 3.1.
	udpSize = 1232
	// maxForged is how many datagrams that are not our answer are skipped
	// before the question moves to TCP, which cannot be raced.
	maxForged = 32
)

// patience is how long a server is waited for, in each round.
var patience = [...]time.Duration{2 * time.Second, 4 * time.Second}

// lately is how long ago a server that is silent now must have answered
// something else for the silence to be the zone's.
const lately = 30 * time.Second

// reply is a server's answer to our question, NOERROR or NXDOMAIN.
type reply struct {
	msg    *dns.Msg
	secure bool
	size   int // octets
}

// ask puts q to one server after the other, in two rounds, until one knows.
func (c *Client) ask(ctx context.Context, q question) (reply, error) {
	servers, err := c.servers.list(c.o.Clock.Now())
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	began, dead := c.o.Clock.Now(), true
	failed := errors.New("no DNS server is configured")
	validating := false
	for _, wait := range patience {
		for _, s := range servers {
			trusted := c.trusted(s)
			if validating && !trusted {
				continue
			}
			r, err := c.exchange(ctx, s, q, wait)
			if err == nil && r.msg.Rcode != dns.RcodeRefused {
				c.heard.Store(c.o.Clock.Now().UnixNano())
			}
			switch {
			case err == nil && usable(r.msg):
				c.servers.prefer(s, c.o.Clock.Now())
				r.secure = trusted && r.msg.AuthenticatedData
				return r, nil
			case err == nil && trusted && isBogus(r.msg):
				return reply{}, fmt.Errorf("%v: %w", s, ErrBogus)
			case err == nil:
				err = errors.New(dns.RcodeToString[r.msg.Rcode])
			}
			c.Counters.Failures.Add(1)
			dead = dead && isDown(err)
			if ctx.Err() != nil {
				return reply{}, context.Cause(ctx)
			}
			failed = fmt.Errorf("%v: %w", s, err)
			// A validating server says SERVFAIL for what is forged, or is
			// kept waiting by whoever forges. To go on to one that does not
			// validate would fetch the forgery. One that is down cannot have
			// seen any.
			validating = validating || trusted && !isDown(err)
		}
	}
	if dead || c.heard.Load() < began.Add(-lately).UnixNano() {
		// A server that answers other questions waits for the zone's. One
		// that refuses us is none of ours.
		failed = fmt.Errorf("%w: %w", ErrUnreachable, failed)
	}
	return reply{}, failed
}

// usable reports whether a reply says something of the question. A referral
// (RFC 2308, section 2.2) comes from a server that will not look it up for
// us, and must not pass for a denial.
func usable(m *dns.Msg) bool {
	switch m.Rcode {
	case dns.RcodeNameError:
		return true
	case dns.RcodeSuccess:
		referral := len(m.Answer) == 0 && len(m.Ns) > 0 && !hasSOA(m) && m.Ns[0].Header().Rrtype == dns.TypeNS
		return !referral
	}
	return false
}

// isDown reports whether nothing listens at a server.
func isDown(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH)
}

// trusted reports whether the server's word on DNSSEC counts.
func (c *Client) trusted(s netip.AddrPort) bool {
	return s.Addr().Unmap().IsLoopback() || slices.Contains(c.o.TrustAD, s)
}

// isBogus reads the extended errors of RFC 8914, section 4 that mean a
// failed validation.
func isBogus(m *dns.Msg) bool {
	opt := m.IsEdns0()
	if opt == nil || m.Rcode != dns.RcodeServerFailure {
		return false
	}
	return slices.ContainsFunc(opt.Option, func(o dns.EDNS0) bool {
		ede, ok := o.(*dns.EDNS0_EDE)
		return ok && ede.InfoCode >= dns.ExtendedErrorCodeDNSBogus && ede.InfoCode <= dns.ExtendedErrorCodeNSECMissing
	})
}

// query is a question as it is sent.
type query struct {
	question
	id     uint16
	packed []byte
}

// exchange puts q to one server: over UDP, over TCP if that does not do, and
// without EDNS if the server does not know it.
func (c *Client) exchange(ctx context.Context, s netip.AddrPort, q question, wait time.Duration) (reply, error) {
	for edns := true; ; edns = false {
		sent, err := c.pack(q, edns)
		if err != nil {
			return reply{}, err
		}
		r, err := c.roundTrip(ctx, "udp", s, sent, wait)
		if err == nil && r.msg.Truncated || errors.Is(err, errForged) {
			r, err = c.roundTrip(ctx, "tcp", s, sent, wait)
		}
		if err != nil || !edns {
			return r, err
		}
		// RFC 6891, section 7: such a server has not read our question.
		if r.msg.Rcode != dns.RcodeFormatError && r.msg.Rcode != dns.RcodeNotImplemented {
			return r, nil
		}
	}
}

// pack returns the question with an id of its own.
func (c *Client) pack(q question, edns bool) (query, error) {
	var id [2]byte
	if _, err := io.ReadFull(c.o.Random, id[:]); err != nil {
		return query{}, err
	}
	m := dns.Msg{
		MsgHdr:   dns.MsgHdr{Id: binary.BigEndian.Uint16(id[:]), RecursionDesired: true, AuthenticatedData: true},
		Question: []dns.Question{{Name: q.name + ".", Qtype: q.qtype, Qclass: dns.ClassINET}},
	}
	if edns {
		m.SetEdns0(udpSize, true)
	}
	packed, err := m.Pack()
	return query{q, m.Id, packed}, err
}

// errForged says that too much arrived that was not the answer.
var errForged = errors.New("datagrams that do not answer the question")

// roundTrip sends a query over a connection of its own, and so from a port
// of its own, and reads the answer.
func (c *Client) roundTrip(ctx context.Context, network string, s netip.AddrPort, q query, wait time.Duration) (reply, error) {
	c.Counters.Queries.Add(1)
	deadline := c.o.Clock.Now().Add(wait)
	dialing, cancel := context.WithDeadline(ctx, deadline)
	conn, err := c.o.Dial(dialing, network, s.String())
	cancel()
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		c.Counters.TCP.Add(1)
		return overTCP(conn, q)
	}
	return c.overUDP(conn, q)
}

// overUDP skips datagrams that do not answer the question: a spoofer's
// guesses, or the late answer to another one.
func (c *Client) overUDP(conn net.Conn, q query) (reply, error) {
	if _, err := conn.Write(q.packed); err != nil {
		return reply{}, err
	}
	buf := make([]byte, udpSize+1)
	for range maxForged {
		n, err := conn.Read(buf)
		if err != nil {
			return reply{}, err
		}
		m, err := q.parse(buf[:n])
		if m == nil {
			c.Counters.Forged.Add(1)
			continue
		}
		// Records that are cut off: RFC 2181, section 9 asks for TCP.
		m.Truncated = m.Truncated || err != nil || n > udpSize
		return reply{msg: m, size: n}, nil
	}
	return reply{}, errForged
}

// overTCP frames a query and its answer as RFC 1035, section 4.2.2 does.
func overTCP(conn net.Conn, q query) (reply, error) {
	framed := binary.BigEndian.AppendUint16(nil, uint16(len(q.packed)))
	if _, err := conn.Write(append(framed, q.packed...)); err != nil {
		return reply{}, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return reply{}, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return reply{}, err
	}
	m, err := q.parse(buf)
	switch {
	case m == nil:
		return reply{}, errForged
	case err != nil:
		return reply{}, err
	case m.Truncated:
		return reply{}, errors.New("an answer cut off over TCP")
	}
	return reply{msg: m, size: len(buf)}, nil
}

// parse returns the message in b if it is the answer to q (RFC 5452, section
// 4), else nil. The error says that its records are damaged.
func (q query) parse(b []byte) (*dns.Msg, error) {
	m := new(dns.Msg)
	err := m.Unpack(b)
	if m.Id != q.id || !m.Response || m.Opcode != dns.OpcodeQuery {
		return nil, err
	}
	// A server that cannot or will not read the question returns none.
	if len(m.Question) == 0 && !usable(m) {
		return m, err
	}
	if len(m.Question) != 1 {
		return nil, err
	}
	asked := m.Question[0]
	if asked.Qtype != q.qtype || asked.Qclass != dns.ClassINET || host(asked.Name) != q.name {
		return nil, err
	}
	return m, err
}
