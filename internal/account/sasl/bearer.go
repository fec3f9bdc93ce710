package sasl

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// The mechanisms that show a token: RFC 7628, and the form that was there
// before it, which is Google's and has no RFC.
const (
	OAuthBearer = "OAUTHBEARER"
	XOAuth2     = "XOAUTH2"
)

// Bounds of what is read of them.
const (
	maxPairs  = 20
	maxBearer = 1024 // octets of a token
)

// separator stands between the pairs: RFC 7628, section 3.1.
const separator = 1

// Dummy is what a client says to the challenge that tells it of its failure:
// RFC 7628, section 3.2.3. Those of XOAUTH2 say nothing at all.
var Dummy = []byte{separator}

// ParseBearer reads the one message of OAUTHBEARER: RFC 7628, section 3.1. The
// login is empty where the client leaves it to the token whose it is. A host
// and a port that are in it are not looked at: TLS has shown where we are.
func ParseBearer(message []byte) (login, token string, err error) {
	header, rest, ok := bytes.Cut(message, []byte{separator})
	if !ok || !utf8.Valid(message) {
		return "", "", ErrMessage
	}
	// RFC 5801, section 4: no channel binding ("y" is one that could), then
	// the name in which it wants to act.
	f := strings.Split(string(header), ",")
	if len(f) != 3 || f[0] != "n" && f[0] != "y" || f[2] != "" {
		return "", "", ErrMessage
	}
	if f[1] != "" {
		if login, ok = saslName(f[1]); !ok {
			return "", "", ErrMessage
		}
	}
	token, err = pairs(rest, "")
	return login, token, err
}

// ParseXOAuth2 reads the one message of XOAUTH2.
func ParseXOAuth2(message []byte) (login, token string, err error) {
	rest, ok := bytes.CutPrefix(message, []byte("user="))
	if !ok || !utf8.Valid(message) {
		return "", "", ErrMessage
	}
	name, rest, ok := bytes.Cut(rest, []byte{separator})
	if !ok || len(name) == 0 || bytes.ContainsFunc(name, control) {
		return "", "", ErrMessage
	}
	token, err = pairs(rest, "user")
	return string(name), token, err
}

// pairs reads the pairs up to the empty one that ends them, and returns the
// token. Each key is there once, as taken says of one.
func pairs(rest []byte, taken string) (token string, err error) {
	seen := map[string]bool{taken: true}
	for range maxPairs {
		pair, after, ok := bytes.Cut(rest, []byte{separator})
		switch {
		case !ok:
			return "", ErrMessage
		case len(pair) == 0 && len(after) == 0 && token != "":
			return token, nil
		}
		key, value, ok := strings.Cut(string(pair), "=")
		if !ok || key == "" || seen[key] || strings.ContainsFunc(key, func(r rune) bool { return r < 'a' || r > 'z' }) ||
			strings.ContainsFunc(value, control) {
			return "", ErrMessage
		}
		seen[key], rest = true, after
		if key == "auth" {
			if token, ok = bearer(value); !ok {
				return "", ErrMessage
			}
		}
	}
	return "", ErrMessage
}

// bearer reads the value of an Authorization field: RFC 6750, section 2.1.
func bearer(value string) (token string, ok bool) {
	scheme, token, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxBearer {
		return "", false
	}
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c >= 0x7f {
			return "", false
		}
	}
	return token, true
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// saslName reads "a=" and a name whose commas and equals signs are written in
// hexadecimal: RFC 5801, section 4.
func saslName(s string) (string, bool) {
	name, ok := strings.CutPrefix(s, "a=")
	if !ok || name == "" || strings.ContainsFunc(name, control) {
		return "", false
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(name, "=")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		switch {
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		name = after[2:]
	}
}

// BearerFailure is what a client is told that shows a token which is not good:
// RFC 7628, section 3.2.2. It is the same whatever is wrong. metadata is where
// the client finds out how to get one, empty if it is not told.
func BearerFailure(mechanism, scope, metadata string) []byte {
	f := struct {
		Status  string `json:"status"`
		Schemes string `json:"schemes,omitempty"`
		Scope   string `json:"scope"`
		Where   string `json:"openid-configuration,omitempty"`
	}{"invalid_token", "", scope, metadata}
	if mechanism == XOAuth2 {
		f.Status, f.Schemes, f.Where = "401", "bearer", ""
	}
	b, err := json.Marshal(f)
	if err != nil { // of strings
		return nil
	}
	return b
}
