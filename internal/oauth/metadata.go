package oauth

import "encoding/json"

// Where things are, below the issuer.
const (
	MetadataPath  = "/.well-known/oauth-authorization-server" // RFC 8414, section 3
	AuthorizePath = "/oauth/authorize"
	TokenPath     = "/oauth/token"
	RevokePath    = "/oauth/revoke"
	DevicePath    = "/oauth/device"
	// PagePath is where people type codes; somebody has to type it too.
	PagePath = "/device"
)

// Metadata describes the server: RFC 8414, section 2.
func Metadata(issuer string) []byte {
	b, err := json.MarshalIndent(map[string]any{
		"issuer":                                         issuer,
		"authorization_endpoint":                         issuer + AuthorizePath,
		"token_endpoint":                                 issuer + TokenPath,
		"revocation_endpoint":                            issuer + RevokePath,
		"device_authorization_endpoint":                  issuer + DevicePath,
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{CodeGrant, RefreshGrant, DeviceGrant},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               []string{SendScope, ReadScope, MailScope},
		"token_endpoint_auth_methods_supported":          []string{"none"},
		"revocation_endpoint_auth_methods_supported":     []string{"none"},
		"authorization_response_iss_parameter_supported": true, // RFC 9207, section 3
	}, "", "  ")
	if err != nil { // strings and lists of them
		return nil
	}
	return append(b, '\n')
}
