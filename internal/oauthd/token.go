package oauthd

import (
	"net/http"

	"gatepost/internal/oauth"
)

// token answers a program that shows a code or a refresh token, or asks
// whether its code was typed: RFC 6749, section 3.2.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	tokens, err := s.tokens(r)
	s.answer(w, r, tokens, err)
}

func (s *Server) tokens(r *http.Request) (*oauth.Tokens, error) {
	p, bad := form(r)
	if bad != nil {
		return nil, bad
	}
	q, bad := p.TokenRequest()
	if bad != nil {
		return nil, bad
	}
	switch q.Grant {
	case oauth.CodeGrant:
		return s.o.Grants.Redeem(r.Context(), q, client(r))
	case oauth.DeviceGrant:
		return s.o.Grants.Poll(r.Context(), q)
	}
	return s.o.Grants.Refresh(r.Context(), q.Secret, q.Client, q.Scope, client(r))
}

// revoke ends what a program has: RFC 7009.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	p, bad := form(r)
	if bad != nil {
		s.answer(w, r, nil, bad)
		return
	}
	token, program, bad := p.Revocation()
	if bad != nil {
		s.answer(w, r, nil, bad)
		return
	}
	err := s.o.Grants.Revoke(r.Context(), token, program, client(r))
	s.answer(w, r, struct{}{}, err)
}
