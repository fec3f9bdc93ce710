package oauth

import (
	"net/url"
	"strings"
	"unicode/utf8"
)

// Bounds of what a client sends.
const (
	// MaxForm bounds a query or a form, in octets.
	MaxForm    = 8 << 10
	maxParams  = 30
	maxParam   = 2048 // octets of one value
	maxState   = 1024
	maxClient  = 200
	maxToken   = 512
	maxLetters = 40 // octets of a code as somebody types it
)

// Params are the parameters of a request, each of them there once.
type Params map[string]string

// ParseParams reads a query or the body of a form. What is there twice is
// refused (RFC 6749, section 3.1): of two readers one takes the first and the
// other the last, and that is how one is made to check what the other does not
// use. A parameter without a value is as if it were not there.
func ParseParams(raw string) (Params, *Error) {
	if len(raw) > MaxForm {
		return nil, &Error{InvalidRequest, "the request is too large"}
	}
	values, err := url.ParseQuery(raw)
	if err != nil || len(values) > maxParams {
		return nil, &Error{InvalidRequest, "the request cannot be read"}
	}
	p := Params{}
	for name, v := range values {
		switch {
		case len(v) != 1:
			return nil, &Error{InvalidRequest, "a parameter is there more than once"}
		case len(v[0]) > maxParam:
			return nil, &Error{InvalidRequest, "a parameter is too long"}
		case !text(name) || !text(v[0]):
			return nil, &Error{InvalidRequest, "a parameter holds what is not text"}
		case v[0] != "":
			p[name] = v[0]
		}
	}
	return p, nil
}

// text reports whether s is UTF-8 without control characters.
func text(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}

// need returns a parameter that must be there and is at most so long.
func (p Params) need(name string, most int) (string, *Error) {
	v := p[name]
	switch {
	case v == "":
		return "", &Error{InvalidRequest, name + " is missing"}
	case len(v) > most:
		return "", &Error{InvalidRequest, name + " is too long"}
	}
	return v, nil
}

// Client returns who a client says that it is.
func (p Params) Client() (string, *Error) { return p.need("client_id", maxClient) }

// only is every octet of a string in f.
func only(s string, f func(c byte) bool) bool {
	for i := range len(s) {
		if !f(s[i]) {
			return false
		}
	}
	return true
}

// printable is VSCHAR: RFC 6749, appendix A.
func printable(c byte) bool { return c >= ' ' && c < 0x7f }

func letterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// urlSafe is the alphabet of base64url: RFC 4648, section 5.
func urlSafe(c byte) bool { return letterOrDigit(c) || c == '-' || c == '_' }

// unreserved is RFC 3986, section 2.3, of which verifiers are made.
func unreserved(c byte) bool { return urlSafe(c) || c == '.' || c == '~' }
