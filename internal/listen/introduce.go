package listen

import (
	"net"
	"net/netip"
	"time"

	"gatepost/internal/listen/proxy"
)

// passedOn is a connection that a proxy passed on.
type passedOn struct {
	*net.TCPConn
	from, to *net.TCPAddr
}

func (p *passedOn) RemoteAddr() net.Addr { return p.from }
func (p *passedOn) LocalAddr() net.Addr  { return p.to }

// introduce reads whose connection a proxy passes on, and returns it with the
// address that it is counted for from then on. It returns nil for a
// connection that it has ended.
func (d *Door) introduce(conn net.Conn, by netip.Addr) (net.Conn, netip.Addr) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn, by
	}
	h, err := d.readHeader(tcp)
	switch {
	case err != nil:
		d.Counters.Handshakes.Add(1)
		d.o.Log.Info("a proxy does not say whose connection it is", "door", d.o.Name, "proxy", by.String(), "error", err)
		_ = conn.Close()
		return nil, by
	case h.Own:
		return conn, by
	}
	client := h.From.Addr().WithZone("")
	if !d.o.Bounds.Move(by, client) {
		d.refuse(conn, client)
		return nil, by
	}
	return &passedOn{tcp, net.TCPAddrFromAddrPort(h.From), net.TCPAddrFromAddrPort(h.To)}, client
}

func (d *Door) readHeader(conn *net.TCPConn) (proxy.Header, error) {
	if err := conn.SetDeadline(d.o.Clock.Now().Add(d.o.HandshakeTimeout)); err != nil {
		return proxy.Header{}, err
	}
	h, err := proxy.Read(conn)
	if err != nil {
		return h, err
	}
	return h, conn.SetDeadline(time.Time{})
}
