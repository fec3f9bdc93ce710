// Package sasl reads and writes the messages of the SASL mechanisms that
// Gatepost offers: PLAIN (RFC 4616), LOGIN (an expired draft that many
// clients still speak), EXTERNAL (RFC 4422, appendix A), SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC
// 7677) with the tls-exporter binding (RFC 9266).
//
// It decides nothing about accounts: who a login is and which keys they have
// is asked of the caller. Messages are strict, because what two readers read
// differently is how one is made to check what the other does not mean.
//
// Limits: messages come from a line that the door has bounded.
package sasl

import (
	"bytes"
	"crypto/tls"
	"errors"
	"unicode/utf8"
)

// The mechanisms, strongest first: clients take the first they know.
const (
	ScramPlus = "SCRAM-SHA-256-PLUS"
	Scram     = "SCRAM-SHA-256"
	Plain     = "PLAIN"
	Login     = "LOGIN"

	// External is offered by who knows the certificates that clients show.
	External = "EXTERNAL"
)

// ErrMessage says that a message does not follow its mechanism's grammar.
var ErrMessage = errors.New("malformed message")

// Mechanisms returns what may be offered on a connection: nothing outside
// TLS 1.2 or later.
func Mechanisms(t *tls.ConnectionState) []string {
	switch {
	case t == nil || !t.HandshakeComplete || t.Version < tls.VersionTLS12:
		return nil
	case binding(t) == nil:
		return []string{Scram, Plain, Login}
	}
	return []string{ScramPlus, Scram, Plain, Login}
}

// binding returns what ties an exchange to its TLS connection, nil where
// there is nothing safe to tie it to. In TLS 1.2 the exporter is unique only
// with an extended master secret (RFC 9266, section 3; the triple handshake
// attack), of which Go does not tell, and it differs between an absent and an
// empty context, on which libraries disagree. So: TLS 1.3 only.
func binding(t *tls.ConnectionState) []byte {
	if t.Version < tls.VersionTLS13 {
		return nil
	}
	// RFC 9266, section 4.2: 32 octets under this label.
	b, err := t.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return nil
	}
	return b
}

// ParsePlain reads the one message of PLAIN: RFC 4616, section 2.
func ParsePlain(message []byte) (authzid, login, password string, err error) {
	f := bytes.Split(message, []byte{0})
	if len(f) != 3 || len(f[1]) == 0 || len(f[2]) == 0 || !utf8.Valid(message) {
		return "", "", "", ErrMessage
	}
	return string(f[0]), string(f[1]), string(f[2]), nil
}

// ParseExternal reads the one message of EXTERNAL: RFC 4422, appendix A.1. It
// is whom the client wants to act as; empty for whoever it is.
func ParseExternal(response []byte) (authzid string, err error) {
	if bytes.IndexByte(response, 0) >= 0 || !utf8.Valid(response) {
		return "", ErrMessage
	}
	return string(response), nil
}

// ParseLogin reads one of the two responses of LOGIN.
func ParseLogin(response []byte) (string, error) {
	if len(response) == 0 || bytes.IndexByte(response, 0) >= 0 || !utf8.Valid(response) {
		return "", ErrMessage
	}
	return string(response), nil
}
