package oauth

import (
	"errors"
	"net/url"
	"strings"
)

// MaxRedirect bounds a redirect, in octets.
const MaxRedirect = 512

// CheckRedirect reports why a redirect cannot be registered. There are three
// kinds (RFC 8252, section 7): http to this very machine, https, and a scheme
// that a program has for itself, which must be a domain turned around, so that
// neither javascript: nor another's program is meant.
func CheckRedirect(s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "" || len(s) > MaxRedirect || err != nil || !only(s, func(c byte) bool { return printable(c) && c != ' ' && c != '\\' && c != '*' }):
		return errors.New("it is no address")
	case strings.Contains(s, "#"):
		return errors.New("it must have no fragment") // RFC 6749, section 3.1.2
	case u.User != nil || strings.Contains(u.Host, "@"):
		return errors.New("it must have no user")
	case u.Scheme == "http":
		if _, ok := loopback(s); !ok {
			return errors.New("http is for http://127.0.0.1, http://[::1] and http://localhost alone, without a port: any is taken")
		}
	case u.Scheme == "https":
		if u.Host == "" || u.Hostname() == "" {
			return errors.New("it has no host")
		}
	case !strings.Contains(u.Scheme, ".") || u.Host != "":
		return errors.New("a scheme of its own is a domain turned around, as com.example.app:/done")
	}
	return nil
}

// loopback takes a registered http redirect apart: the host with its scheme,
// and what follows it.
func loopback(s string) (path string, ok bool) {
	for _, host := range loopbacks {
		if rest, ok := strings.CutPrefix(s, host); ok && (rest == "" || rest[0] == '/') && !strings.Contains(rest, "?") {
			return rest, true
		}
	}
	return "", false
}

var loopbacks = []string{"http://127.0.0.1", "http://[::1]", "http://localhost"}

// Matches reports whether a redirect that a client asks for is the registered
// one: the same octets (RFC 9700, section 2.1), since whatever is read twice
// is read in two ways. Only of those to the client's own machine the port is
// its own affair (RFC 8252, section 7.3).
func Matches(registered, asked string) bool {
	if len(asked) > MaxRedirect {
		return false
	}
	if registered == asked {
		return true
	}
	path, ok := loopback(registered)
	if !ok {
		return false
	}
	rest, ok := strings.CutPrefix(asked, strings.TrimSuffix(registered, path))
	if !ok {
		return false
	}
	if strings.HasPrefix(rest, ":") {
		digits := len(rest) - len(strings.TrimLeft(rest[1:], "0123456789")) - 1
		if digits < 1 || digits > 5 || rest[1] == '0' || digits == 5 && rest[1:6] > "65535" {
			return false
		}
		rest = rest[1+digits:]
	}
	// An empty path is the same request as "/".
	return rest == path || strings.Trim(rest+path, "/") == "" && len(rest) <= 1 && len(path) <= 1
}

// Answer is where a browser is sent with a code, or with an error.
type Answer struct {
	Redirect, State, Issuer string
	Code                    string // or
	Error                   *Error
}

// URL writes it. The issuer is in each answer, so that a client that talks to
// several servers sends the code to nobody else's: RFC 9207, section 2.
func (a *Answer) URL() string {
	v := url.Values{"iss": {a.Issuer}}
	if a.State != "" {
		v.Set("state", a.State)
	}
	if a.Error != nil {
		v.Set("error", a.Error.Code)
		v.Set("error_description", a.Error.Text)
	} else {
		v.Set("code", a.Code)
	}
	separator := "?"
	if strings.Contains(a.Redirect, "?") {
		separator = "&"
	}
	return a.Redirect + separator + v.Encode()
}

// Origin returns what a page must name that lets a form lead to a redirect
// (CSP form-action): scheme and host, or the scheme alone.
func Origin(redirect string) string {
	u, err := url.Parse(redirect)
	switch {
	case err != nil:
		return ""
	case u.Host == "" || strings.Contains(u.Host, "["): // which CSP cannot write
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}
