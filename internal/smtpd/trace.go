package smtpd

import (
	"crypto/tls"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// received returns the Received field of a message: RFC 5321, section 4.4.
//
// On submission it does not say where the client is: that is nobody's
// business but the user's. "for" stands only where there is one recipient,
// or the others would learn of each other; it names the one that the client
// gave, not who is behind it.
func received(s *session, e *envelope.Envelope, id string) []byte {
	b := make([]byte, 0, 384)
	b = append(b, "Received: "...)
	if s.o.Door != envelope.Submission {
		b = append(b, "from "...)
		b = append(b, s.peer.Helo...)
		b = append(b, " ("...)
		b = append(b, addr.Literal(s.peer.Addr.Addr())...)
		b = append(b, ")\r\n\t"...)
	}
	b = append(b, "by "...)
	b = append(b, s.o.Hostname...)
	b = append(b, " with "...)
	b = append(b, protocol(s, e)...)
	if t := s.peer.TLS; t != nil {
		b = append(b, " ("...)
		b = append(b, tls.VersionName(t.Version)...)
		b = append(b, ' ')
		b = append(b, tls.CipherSuiteName(t.CipherSuite)...)
		if t.CurveID != 0 {
			b = append(b, ' ')
			b = append(b, t.CurveID.String()...)
		}
		b = append(b, ')')
	}
	b = append(b, "\r\n\tid "...)
	b = append(b, id...)
	if s.tx.accepted == 1 && s.tx.to.Domain != "" && (e.UTF8 || s.tx.to.IsASCII()) {
		b = append(b, " for <"...)
		b = append(b, s.tx.to.String()...)
		b = append(b, '>')
	}
	b = append(b, ";\r\n\t"...)
	b = e.Received.UTC().AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700")
	return append(b, "\r\n"...)
}

// protocol names how the message came: RFC 3848, and RFC 6531, section 4.3
// for messages with SMTPUTF8.
func protocol(s *session, e *envelope.Envelope) string {
	if !s.peer.ESMTP {
		return "SMTP"
	}
	name := "ESMTP"
	if e.UTF8 {
		name = "UTF8SMTP"
	}
	if s.peer.TLS != nil {
		name += "S"
	}
	if s.peer.Account != "" {
		name += "A"
	}
	return name
}
