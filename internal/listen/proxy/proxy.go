// Package proxy reads what a proxy in front of a door says of a connection
// before it passes it on: the PROXY protocol of HAProxy, versions 1 and 2
// (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
//
// It believes every word, so that only connections from proxies of ours may
// come here. What a header says beyond the addresses is not read: nobody is
// let in because a proxy says that they showed a certificate.
package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of a header, in octets.
const (
	maxText   = 107 // section 2.1
	maxBinary = 536 // of what follows the first 16: the largest addresses, and as much again of what is skipped
)

// signature begins a header of version 2 (section 2.2).
var signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

var (
	errNone      = errors.New("the proxy does not begin with a header of the PROXY protocol")
	errMalformed = errors.New("the proxy's header is malformed")
)

// Header is what a proxy says.
type Header struct {
	// Own says that the connection is the proxy's own, as to see whether
	// somebody listens. There are no addresses then.
	Own  bool
	From netip.AddrPort // the client
	To   netip.AddrPort // what the client connected to
}

// Read reads a header and not an octet more.
func Read(r io.Reader) (Header, error) {
	var b [16]byte
	// The shortest header of version 1 has 15 octets, "PROXY UNKNOWN" CR LF.
	if _, err := io.ReadFull(r, b[:15]); err != nil {
		return Header{}, err
	}
	switch {
	case bytes.HasPrefix(b[:], signature):
		if _, err := io.ReadFull(r, b[15:]); err != nil {
			return Header{}, err
		}
		return readBinary(r, b)
	case bytes.HasPrefix(b[:], []byte("PROXY ")):
		return readText(r, b[:15])
	}
	return Header{}, errNone
}

// readText reads the rest of a line of version 1, octet by octet: what
// follows it is not ours.
func readText(r io.Reader, begun []byte) (Header, error) {
	line := append(make([]byte, 0, maxText), begun...)
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == maxText {
			return Header{}, errMalformed
		}
		line = append(line, 0)
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return Header{}, err
		}
	}
	return parseText(string(line[:len(line)-2]))
}

// parseText reads "PROXY TCP4 from to port port" (section 2.1).
func parseText(line string) (h Header, err error) {
	words := strings.Split(line, " ")
	if len(words) > 1 && words[1] == "UNKNOWN" {
		return Header{Own: true}, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return h, errMalformed
	}
	four := words[1] == "TCP4"
	if h.From, err = parseAddrPort(words[2], words[4], four); err != nil {
		return h, err
	}
	h.To, err = parseAddrPort(words[3], words[5], four)
	return h, err
}

func parseAddrPort(ip, port string, four bool) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(ip)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || a.Zone() != "" || a.Is4() != four || port[0] == '+' || port[0] == '0' && port != "0" {
		return netip.AddrPort{}, errMalformed
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// readBinary reads the rest of a header of version 2 (section 2.2): what it
// says of TLS and the like is skipped.
func readBinary(r io.Reader, b [16]byte) (Header, error) {
	n := int(binary.BigEndian.Uint16(b[14:]))
	if n > maxBinary {
		return Header{}, errMalformed
	}
	rest := make([]byte, n)
	if _, err := io.ReadFull(r, rest); err != nil {
		return Header{}, err
	}
	size := 0
	switch b[13] {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // and IPv6
		size = 16
	}
	switch {
	case b[12] == 0x20: // LOCAL
		return Header{Own: true}, nil
	case b[12] != 0x21 || size == 0 || n < 2*size+4:
		return Header{}, errMalformed
	}
	at := func(i, port int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(rest[i : i+size])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(rest[port:]))
	}
	return Header{From: at(0, 2*size), To: at(size, 2*size+2)}, nil
}
