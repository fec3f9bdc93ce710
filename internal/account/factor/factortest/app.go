// Package factortest is what people have in their pockets, for tests: an app
// that shows codes, a device with a passkey. It is written apart from the code
// that checks them.
package factortest

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"time"
)

// Code returns what an app shows: RFC 6238 with SHA-1, 30 seconds, 6 digits.
func Code(secret []byte, at time.Time) string {
	h := hmac.New(sha1.New, secret)
	binary.Write(h, binary.BigEndian, uint64(at.Unix()/30)) // a hash takes all
	sum := h.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])<<1>>1%1e6)
}
