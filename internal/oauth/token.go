package oauth

// The grants that a client can show at the token endpoint.
const (
	CodeGrant    = "authorization_code"
	RefreshGrant = "refresh_token"
	DeviceGrant  = "urn:ietf:params:oauth:grant-type:device_code"
)

// TokenRequest is a request for tokens.
type TokenRequest struct {
	Grant  string
	Client string
	// Secret is the code, the refresh token or the device code.
	Secret string

	Redirect, Verifier string // with a code
	Scope              *Scope // with a refresh token: less than before; nil: the same
}

// TokenRequest reads one.
func (p Params) TokenRequest() (r TokenRequest, bad *Error) {
	if r.Grant, bad = p.need("grant_type", maxClient); bad != nil {
		return r, bad
	}
	secret := map[string]string{CodeGrant: "code", RefreshGrant: "refresh_token", DeviceGrant: "device_code"}[r.Grant]
	if secret == "" {
		return r, &Error{UnsupportedGrant, "the grants are " + CodeGrant + ", " + RefreshGrant + " and " + DeviceGrant}
	}
	if r.Client, bad = p.Client(); bad != nil {
		return r, bad
	}
	if r.Secret, bad = p.need(secret, maxToken); bad != nil {
		return r, bad
	}
	switch r.Grant {
	case CodeGrant:
		if r.Redirect, bad = p.Redirect(); bad != nil {
			return r, bad
		}
		r.Verifier, bad = p.need("code_verifier", maxToken)
	case RefreshGrant:
		if p["scope"] != "" {
			var s Scope
			if s, bad = ParseScope(p["scope"]); bad == nil {
				r.Scope = &s
			}
		}
	}
	return r, bad
}

// Revocation reads a request to end a token: RFC 7009, section 2.1.
func (p Params) Revocation() (token, client string, bad *Error) {
	if client, bad = p.Client(); bad != nil {
		return "", "", bad
	}
	token, bad = p.need("token", maxToken)
	return token, client, bad
}

// Tokens is the answer with tokens: RFC 6749, section 5.1.
type Tokens struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"` // Bearer
	Expires int64  `json:"expires_in"` // seconds
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
}

// DeviceAnswer is the answer to a device: RFC 8628, section 3.2. There is no
// verification_uri_complete: an address that brings the code along is what a
// phisher sends (section 5.4), and whoever types the code has it before them.
type DeviceAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	Page       string `json:"verification_uri"`
	Expires    int64  `json:"expires_in"` // seconds
	Interval   int64  `json:"interval"`
}

// Failure is an Error as clients read it.
type Failure struct {
	Code string `json:"error"`
	Text string `json:"error_description,omitempty"`
}
