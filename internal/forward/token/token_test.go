package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"
)

// keyed is a MAC under a key.
func keyed(key string) MAC {
	return func(parts ...[]byte) [32]byte {
		h := hmac.New(sha256.New, []byte(key))
		for _, p := range parts {
			h.Write([]byte{byte(len(p))})
			h.Write(p)
		}
		return [32]byte(h.Sum(nil))
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	mac := keyed("ours")
	one := Make(mac, "example.org", []byte("message"), "sales@example.org")
	local := one.String()
	if len(local) != Length || Length > 64 || !strings.HasPrefix(local, "bounce-") {
		t.Errorf("%q of %d octets", local, len(local))
	}
	for _, spelling := range []string{local, strings.ToUpper(local)} {
		got, ok := Parse(spelling)
		if !ok || got != one || !got.Genuine(mac, "example.org") {
			t.Errorf("%s: %v, %v", spelling, got, ok)
		}
	}
	if Make(mac, "example.org", []byte("message"), "sales@example.org") != one {
		t.Error("the next attempt would have another sender")
	}
	for name, other := range map[string]Token{
		"message": Make(mac, "example.org", []byte("another"), "sales@example.org"),
		"alias":   Make(mac, "example.org", []byte("message"), "info@example.org"),
		"key":     Make(keyed("another"), "example.org", []byte("message"), "sales@example.org"),
	} {
		if string(other.Name()) == string(one.Name()) || other.check == one.check {
			t.Errorf("another %s has the same token", name)
		}
	}
	if one.Genuine(mac, "example.com") || one.Genuine(keyed("another"), "example.org") {
		t.Error("the token is good elsewhere")
	}
}

// Nobody makes a token by changing one, a letter at a time.
func TestForged(t *testing.T) {
	t.Parallel()
	mac := keyed("ours")
	local := Make(mac, "example.org", []byte("message"), "sales@example.org").String()
	const letters = "0123456789abcdefghjkmnpqrstvwxyz"
	for at := len(Prefix); at < len(local); at++ {
		for _, c := range letters {
			forged := local[:at] + string(c) + local[at+1:]
			if got, ok := Parse(forged); !ok || got.Genuine(mac, "example.org") != (forged == local) {
				t.Errorf("%s: %v", forged, ok)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	local := Make(keyed("k"), "example.org", []byte("message"), "a@example.org").String()
	for _, s := range []string{local, strings.ToUpper(local), local[1:], local + "0", "", "bounce-", Prefix + strings.Repeat("i", 32),
		Prefix + strings.Repeat("0", 31) + "\n", strings.Replace(local, "-", "+", 1), Prefix + strings.Repeat("\u212a", 10) + "00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := Parse(s)
		if ok && got.String() != strings.ToLower(s) {
			t.Errorf("%q was read as %q", s, got)
		}
		if !ok && got != (Token{}) {
			t.Errorf("%q is no token, but %v", s, got)
		}
	})
}
