package smtpclient

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Extensions are what a server offered in answer to EHLO; the zero value is
// a server that knows only HELO.
type Extensions struct {
	Pipelining bool  // RFC 2920
	EightBit   bool  // RFC 6152
	UTF8       bool  // RFC 6531
	Chunking   bool  // RFC 3030
	DSN        bool  // RFC 3461
	StartTLS   bool  // RFC 3207
	RequireTLS bool  // RFC 8689
	Size       bool  // RFC 1870
	MaxSize    int64 // octets; 0 if the server names no limit

	// Limits of RFC 9422, section 4; 0 if the server names none.
	MailMax       int // transactions of a connection
	RcptMax       int // recipients of a transaction
	RcptDomainMax int // their domains

	auth mechanisms
}

// Hello reads the greeting and introduces us. A refusal is returned as an
// *smtp.Reply.
func (c *Conn) Hello() error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	if _, err := c.expect(atGreeting, 220); err != nil {
		return err
	}
	return c.ehlo()
}

// ehlo introduces us and takes note of what the server offers; one that does
// not know EHLO gets HELO (RFC 5321, section 3.2).
func (c *Conn) ehlo() error {
	c.ext = Extensions{}
	if err := c.inTurn(atHello); err != nil {
		return err
	}
	c.add("EHLO ", c.o.Hostname, "\r\n")
	if err := c.flush(atHello); err != nil {
		return err
	}
	r, err := c.expect(atHello, 250)
	switch {
	case err == nil:
		c.ext = parseExtensions(r.Text)
		return nil
	case r.Code/100 != 5 || c.failed != nil:
		return err
	}
	c.add("HELO ", c.o.Hostname, "\r\n")
	if err := c.flush(atHello); err != nil {
		return err
	}
	_, err = c.expect(atHello, 250)
	return err
}

// inTurn checks that the server has not spoken before it was asked.
func (c *Conn) inTurn(at step) error {
	if c.buf.in.Buffered() == 0 {
		return nil
	}
	return c.lose(at, fmt.Errorf("%w: it speaks out of turn", ErrProtocol))
}

// parseExtensions reads the lines of a reply to EHLO after the first: RFC
// 5321, section 4.1.1.1. What we do not know, or cannot read, was not
// offered.
func parseExtensions(text string) Extensions {
	var e Extensions
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.SplitSeq(text, "\n") {
		keyword, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(keyword) {
		case "PIPELINING":
			e.Pipelining = true
		case "8BITMIME":
			e.EightBit = true
		case "SMTPUTF8":
			e.UTF8 = true
		case "CHUNKING":
			e.Chunking = true
		case "DSN":
			e.DSN = true
		case "STARTTLS":
			e.StartTLS = true
		case "REQUIRETLS":
			e.RequireTLS = true
		case "SIZE":
			e.Size = true
			if n, err := strconv.ParseInt(strings.TrimSpace(rest), 10, 64); err == nil && n > 0 {
				e.MaxSize = n
			}
		case "AUTH":
			e.auth = parseMechanisms(rest)
		case "LIMITS":
			e.limits(rest)
		}
	}
	return e
}

// limits reads the value of LIMITS: RFC 9422, section 3.
func (e *Extensions) limits(s string) {
	for limit := range strings.FieldsSeq(s) {
		name, value, _ := strings.Cut(limit, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 999_999 { // section 4: one to six digits
			continue
		}
		switch strings.ToUpper(name) {
		case "RCPTMAX":
			e.RcptMax = n
		case "RCPTDOMAINMAX":
			e.RcptDomainMax = n
		case "MAILMAX":
			e.MailMax = n
		}
	}
}

// StartTLS asks for TLS and introduces us again, since what was offered
// before could have been anybody's word (RFC 3207, section 4.2). A refusal to
// begin is returned as an *smtp.Reply and leaves the connection as it was.
func (c *Conn) StartTLS(config *tls.Config) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	c.add("STARTTLS\r\n")
	if err := c.flush(atStartTLS); err != nil {
		return err
	}
	if _, err := c.expect(atStartTLS, 220); err != nil {
		return err
	}
	if err := c.handshake(config); err != nil {
		return err
	}
	// Whatever came along with the 220 was not encrypted and is thrown away.
	// Kept, it would be taken for the server's first replies inside TLS
	// (CVE-2021-33515 and its like).
	c.buf.in.Reset(c.nc)
	return c.ehlo()
}

// handshake puts TLS on the connection.
func (c *Conn) handshake(config *tls.Config) error {
	secured := tls.Client(c.raw, config)
	if err := c.wait(atHandshake); err != nil {
		return err
	}
	if err := secured.Handshake(); err != nil {
		return c.lose(atHandshake, err)
	}
	state := secured.ConnectionState()
	c.nc, c.state = secured, &state
	return nil
}

// IsHandshake reports whether err says that a TLS handshake failed.
func IsHandshake(err error) bool {
	var lost *Error
	return errors.As(err, &lost) && lost.Step == atHandshake.name
}
