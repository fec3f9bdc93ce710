package oauthd

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"gatepost/internal/account"
	"gatepost/internal/grant"
	"gatepost/internal/oauth"
)

// request is what a program asks for with somebody's browser.
type request struct {
	params   oauth.Params
	client   grant.Client
	redirect string
}

// again is the address of the request, written in one way.
func (q *request) again() string {
	v := url.Values{}
	for name, value := range q.params {
		v.Set(name, value)
	}
	return oauth.AuthorizePath + "?" + v.Encode()
}

// authorize asks somebody whether a program may use their mail, and sends the
// browser back to the program with a code: RFC 6749, section 4.1.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "this takes GET and POST", http.StatusMethodNotAllowed)
		return
	}
	q, ok := s.request(w, r)
	if !ok {
		return
	}
	if _, _, signed := s.o.Console.Signed(r); !signed {
		http.Redirect(w, r, s.o.Console.SignInURL(q.again()), http.StatusSeeOther)
		return
	}
	// RFC 9700, section 4.11.2: nobody is sent on with an error before they
	// have signed in.
	ask, bad := q.params.Authorization()
	if bad != nil {
		s.back(w, r, q, oauth.Answer{State: ask.State, Error: bad})
		return
	}
	a, ok := s.visitor(w, r, q.again())
	switch {
	case !ok:
	case r.Method == http.MethodGet:
		s.consent(w, r, q, ask, a)
	default:
		s.consented(w, r, q, ask, a)
	}
}

// request finds the program and where it wants the answer. Whatever is wrong
// with these is shown here: there is nobody to send the browser to (RFC 6749,
// section 4.1.2.1).
func (s *Server) request(w http.ResponseWriter, r *http.Request) (*request, bool) {
	p, bad := oauth.ParseParams(r.URL.RawQuery)
	q := &request{params: p}
	var id string
	if bad == nil {
		id, bad = p.Client()
	}
	if bad == nil {
		q.redirect, bad = p.Redirect()
	}
	if bad != nil {
		s.message(w, r, http.StatusBadRequest, "This program asks wrongly", "What it sent cannot be read: "+bad.Text+". It gets nothing; whoever made it can help.")
		return nil, false
	}
	var err error
	q.client, err = s.o.Grants.Client(r.Context(), id)
	switch {
	case errors.Is(err, grant.ErrUnknown):
		s.message(w, r, http.StatusBadRequest, "This program is not known here", "It gets nothing. Whoever runs this server can make it known.")
		return nil, false
	case err != nil:
		s.failed(w, r, err)
		return nil, false
	case !q.client.Redirect(q.redirect):
		s.message(w, r, http.StatusBadRequest, "This program asks wrongly", "It wants the answer sent to an address that is not known to be its own, so it gets none. If a link brought you here, somebody may have made it to get at your mail.")
		return nil, false
	}
	return q, true
}

func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	s.o.Log.Error("a page failed", "path", r.URL.Path, "error", err)
	http.Error(w, "Something failed on our side. Try again later.", http.StatusServiceUnavailable)
}

// question is what somebody is asked.
type question struct {
	Action  string
	Account string // as it is typed
	Shown   string // and as it is shown
	Program string
	BuiltIn bool // which anybody may call himself
	Send    bool
	Read    bool
	Target  string // where the answer goes; empty: to this very device

	Code, From, Here, Agent, Ago string // of a device
	Near                         bool   // it asks from the network that the browser is in
}

func (s *Server) consent(w http.ResponseWriter, r *http.Request, q *request, ask oauth.Authorization, a account.Account) {
	// The form leads to us, and from there to the program, which a browser
	// counts as the same (CSP 3, section 6.4.2).
	csp := w.Header().Get("Content-Security-Policy")
	w.Header().Set("Content-Security-Policy", strings.Replace(csp, "form-action 'self'", "form-action 'self' "+oauth.Origin(q.redirect), 1))
	s.show(w, r, http.StatusOK, "May this program use your mail?", "consent", question{
		Action: q.again(), Account: a.Address.String(), Shown: a.Address.Unicode(), Program: q.client.Name, BuiltIn: q.client.BuiltIn,
		Send: ask.Scope.Send, Read: ask.Scope.Read, Target: target(q.redirect),
	})
}

// target names where an answer goes, for people.
func target(redirect string) string {
	u, err := url.Parse(redirect)
	switch {
	case err != nil || u.Host == "":
		return ""
	case u.Hostname() == "127.0.0.1" || u.Hostname() == "::1" || u.Hostname() == "localhost":
		return ""
	}
	return u.Host
}

func (s *Server) consented(w http.ResponseWriter, r *http.Request, q *request, ask oauth.Authorization, a account.Account) {
	p, ok := s.posted(w, r, a)
	if !ok {
		return
	}
	if p["answer"] != "allow" || p["account"] == "" {
		s.back(w, r, q, oauth.Answer{State: ask.State, Error: &oauth.Error{Code: oauth.AccessDenied, Text: "it was not allowed"}})
		return
	}
	code, err := s.o.Grants.NewCode(owner(a), q.client, q.redirect, ask, client(r))
	var bad *oauth.Error
	if err != nil && !errors.As(err, &bad) {
		s.failed(w, r, err)
		return
	}
	s.back(w, r, q, oauth.Answer{State: ask.State, Code: code, Error: bad})
}

// back sends the browser to the program. With 303 it asks for the page by GET
// and takes nothing of a form along: RFC 9700, section 4.12.
func (s *Server) back(w http.ResponseWriter, r *http.Request, q *request, a oauth.Answer) {
	a.Redirect, a.Issuer = q.redirect, s.o.Issuer
	w.Header().Set("Referrer-Policy", "no-referrer") // RFC 9700, section 4.2.4
	w.Header().Set("Location", a.URL())
	w.WriteHeader(http.StatusSeeOther)
}
