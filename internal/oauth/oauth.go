// Package oauth reads and writes what programs for mail say to an
// authorization server: OAuth 2.1 as the draft has it, which is RFC 6749
// without what RFC 9700 forbids, with PKCE (RFC 7636), redirects for native
// programs (RFC 8252), the issuer in each answer (RFC 9207), metadata (RFC
// 8414) and the codes that people type in from another device (RFC 8628).
//
// # Place in the path
//
// oauthd has it read requests and write answers; grant keeps what was given
// out. Nothing here knows an account, a store or a socket.
//
// # What there is not
//
// No implicit grant and no password grant (RFC 9700, sections 2.1.2 and 2.4),
// no challenge but S256, no secrets of clients: whatever is installed on
// somebody's device can keep none.
//
// # Trust and limits
//
// Everything is a stranger's: parameters are bounded by maxParams and MaxForm,
// each is there once, and a redirect that is not the registered one, octet for
// octet, is answered to nobody.
package oauth

import "strings"

// Error is what a client is told: RFC 6749, section 5.2. Code is one of those
// that RFCs define; Text, for whoever writes the program, is ASCII and holds
// nothing that was sent.
type Error struct{ Code, Text string }

func (e *Error) Error() string { return e.Code + ": " + e.Text }

// The codes.
const (
	InvalidRequest      = "invalid_request"
	InvalidClient       = "invalid_client"
	InvalidGrant        = "invalid_grant"
	InvalidScope        = "invalid_scope"
	UnauthorizedClient  = "unauthorized_client"
	UnsupportedGrant    = "unsupported_grant_type"
	UnsupportedResponse = "unsupported_response_type"
	AccessDenied        = "access_denied"
	Unavailable         = "temporarily_unavailable"
	ServerError         = "server_error"
	Pending             = "authorization_pending" // RFC 8628, section 3.5, and the next two
	SlowDown            = "slow_down"
	Expired             = "expired_token"
)

// Scope is what a token is good for; the zero Scope for nothing.
type Scope struct{ Send, Read bool }

// The names of scopes. The second pair is what programs ask for that know no
// names of ours: the first of them is of the profile for open clients that the
// IETF works on (draft-ietf-mailmaint-oauth-public), and means both.
const (
	SendScope = "mail.send"
	ReadScope = "mail.read"
	MailScope = "urn:ietf:params:oauth:scope:mail"
)

// maxScopes bounds the words of a scope.
const maxScopes = 20

// ParseScope reads what a client asks for. Nothing is everything, since
// programs are set up by people who do not know the names; words that we do
// not know are left out, as RFC 6749, section 3.3 allows, unless nothing is
// left.
func ParseScope(s string) (Scope, *Error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return Scope{Send: true, Read: true}, nil
	}
	if len(words) > maxScopes {
		return Scope{}, &Error{InvalidScope, "too many scopes"}
	}
	var scope Scope
	for _, w := range words {
		switch w {
		case SendScope:
			scope.Send = true
		case ReadScope:
			scope.Read = true
		case MailScope:
			scope.Send, scope.Read = true, true
		}
	}
	if scope == (Scope{}) {
		return scope, &Error{InvalidScope, "the scopes here are " + SendScope + " and " + ReadScope}
	}
	return scope, nil
}

// String writes a scope as clients read it.
func (s Scope) String() string {
	switch {
	case s.Send && s.Read:
		return SendScope + " " + ReadScope
	case s.Send:
		return SendScope
	case s.Read:
		return ReadScope
	}
	return ""
}

// Within reports whether a scope asks for nothing that other does not have.
func (s Scope) Within(other Scope) bool { return (!s.Send || other.Send) && (!s.Read || other.Read) }
