package message

import (
	"encoding/base32"
	"io"

	"gatepost/internal/addr"
)

// idText spells the left side of our message ids: letters and digits, so
// that it is an atom everywhere.
var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewMessageID returns a value for a Message-ID field, with its angle
// brackets (RFC 5322, section 3.6.4): 128 random bits at domain. It tells
// nothing of time, process or machine. It fails only when random does.
func NewMessageID(random io.Reader, domain addr.Domain) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", err
	}
	return "<" + idText.EncodeToString(b[:]) + "@" + string(domain) + ">", nil
}
