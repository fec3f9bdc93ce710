package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// Authorization is a request for a code.
type Authorization struct {
	State     string
	Challenge string // PKCE, S256
	Scope     Scope
}

// Redirect returns where the client wants the answer. It may be trusted only
// when it Matches one of the client's.
func (p Params) Redirect() (string, *Error) { return p.need("redirect_uri", MaxRedirect) }

// Authorization reads the rest of a request. State is there also with an
// error, if it can be sent back.
func (p Params) Authorization() (a Authorization, bad *Error) {
	if s := p["state"]; len(s) > maxState || !only(s, printable) {
		return a, &Error{InvalidRequest, "state is too long, or not ASCII"}
	}
	a.State = p["state"]
	switch {
	case p["response_type"] == "":
		return a, &Error{InvalidRequest, "response_type is missing"}
	case p["response_type"] != "code": // RFC 9700, section 2.1.2: no token goes through a browser
		return a, &Error{UnsupportedResponse, "the one response_type is code"}
	case p["response_mode"] != "" && p["response_mode"] != "query":
		return a, &Error{InvalidRequest, "the one response_mode is query"}
	case p["request"] != "" || p["request_uri"] != "":
		return a, &Error{InvalidRequest, "no request objects are taken"} // we fetch nothing for anybody
	case p["code_challenge"] == "":
		// RFC 9700, section 2.1.1: a code that was stolen on its way is
		// worth nothing without the verifier.
		return a, &Error{InvalidRequest, "code_challenge is missing: PKCE is needed"}
	case p["code_challenge_method"] != "S256":
		// RFC 7636, section 4.3: none means plain, which whoever sees the
		// request can redeem.
		return a, &Error{InvalidRequest, "the one code_challenge_method is S256"}
	case len(p["code_challenge"]) != base64.RawURLEncoding.EncodedLen(sha256.Size) || !only(p["code_challenge"], urlSafe):
		return a, &Error{InvalidRequest, "code_challenge is none of S256"}
	}
	a.Challenge = p["code_challenge"]
	a.Scope, bad = ParseScope(p["scope"])
	return a, bad
}

// Verify reports whether a verifier is the one of a challenge: RFC 7636,
// section 4.6.
func Verify(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 || !only(verifier, unreserved) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}
