package envelope

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// ID names a message for as long as anybody remembers it. It is never
// reused, also not after a restore from a backup: 48 bits of milliseconds
// (which sort ids by age) and 80 random ones.
type ID [16]byte

// text is the alphabet of Crockford in lower case: no letter looks like a
// digit, and no word is spelled by accident.
var text = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// ErrID says that a string is not the text of an ID.
var ErrID = errors.New("not a message id of this server (26 letters and digits)")

// NewID returns an id for a message that arrived now. It fails only when the
// source of randomness does.
func NewID(now time.Time, random io.Reader) (ID, error) {
	var id ID
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixMilli())<<16)
	_, err := io.ReadFull(random, id[6:])
	return id, err
}

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != text.EncodedLen(len(id)) {
		return ID{}, ErrID
	}
	if _, err := text.Decode(id[:], []byte(s)); err != nil {
		return ID{}, ErrID
	}
	return id, nil
}

// String returns the id as 26 letters and digits.
func (id ID) String() string { return text.EncodeToString(id[:]) }

// IsZero reports whether id names no message.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText makes ids readable in JSON and logs.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}
