package factor

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"net/url"
	"time"
)

const (
	digits = 6
	// period is the length of a step: RFC 6238, section 5.2.
	period = 30
	// secretSize is what RFC 4226, section 4 (R6) recommends, in octets.
	secretSize = 20
	// window is how many steps before and after the right one are accepted:
	// RFC 6238, section 5.2 recommends at most one for the delay of typing.
	window = 1
	// maxDrift bounds what is believed of a clock that is wrong, in steps:
	// RFC 6238, section 6. It is learned a step at a time.
	maxDrift = 4
)

// NewSecret makes the secret of an app.
func NewSecret(random io.Reader) ([]byte, error) {
	s := make([]byte, secretSize)
	_, err := io.ReadFull(random, s)
	return s, err
}

// Spelled returns a secret as apps take it when it is typed.
func Spelled(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// URI returns what the QR code for an app says: whose secret it is, at which
// server, and the secret.
func URI(secret []byte, server, account string) string {
	q := url.Values{"secret": {Spelled(secret)}, "issuer": {server}, "algorithm": {"SHA1"}, "digits": {fmt.Sprint(digits)}, "period": {fmt.Sprint(period)}}
	return "otpauth://totp/" + url.PathEscape(server) + ":" + url.PathEscape(account) + "?" + q.Encode()
}

// Step returns the step that a moment is in: RFC 6238, section 4.2.
func Step(at time.Time) int64 { return at.Unix() / period }

// totp returns the code of a step: RFC 4226, section 5.3.
func totp(secret []byte, step int64) string {
	var counter [8]byte
	binary.BigEndian.PutUint64(counter[:], uint64(step))
	h := hmac.New(sha1.New, secret)
	h.Write(counter[:])
	sum := h.Sum(nil)
	at := sum[len(sum)-1] & 0xf
	n := binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", digits, n%1_000_000)
}

// Step returns the step of which the code is, if it may be accepted now:
// later than the last one that was, and near the present by our clock, or by
// the device's, which is drift steps off. Our own always counts, so that a
// device whose clock is set right is not locked out by what was learned of
// it. It takes the same time whatever the answer.
func (c Code) Step(secret []byte, now, drift, last int64) (step int64, ok bool) {
	for _, base := range []int64{drift, 0} {
		for off := int64(-window); off <= window; off++ {
			try := now + base + off
			if subtle.ConstantTimeCompare([]byte(totp(secret, try)), []byte(c.digits)) == 1 && try > last {
				step, ok = try, true
			}
		}
	}
	return step, ok
}

// Drift returns what is believed of the clock of a device once it showed the
// code of a step.
func Drift(step, now int64) int64 { return max(-maxDrift, min(step-now, maxDrift)) }
