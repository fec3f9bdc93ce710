// Package oauthd is the door at which programs for mail get tokens: the
// endpoints of OAuth (RFC 6749, 7009, 8414, 8628), and the pages on which
// people allow it.
//
// # Place in the path
//
// Beside it. The console hands it what is asked below oauth's paths, says who
// is signed in, and frames the pages. oauth reads the requests, grant keeps
// what was allowed.
//
// # Who is answered what
//
// Programs have no secrets, so what they ask for by themselves gives them
// nothing: a code or a token is made when somebody who is signed in, and has
// shown password and factor within the last minutes, presses a button on a
// page that says which program it is, what it may do, and where the answer
// goes.
//
// # Attacks that this stops
//
// Redirects to elsewhere (open redirector, RFC 9700, section 4.11): a browser
// is sent to a registered address or to nowhere, and for an error too only
// once somebody is signed in. Consent by a link or by another site's form
// (CSRF): it takes a POST from a page of ours, and the account in the form
// must be the one that is signed in. A page of ours in another's frame, and a
// form of ours that leads elsewhere: the console's headers, with the one
// redirect added. Codes typed in at a phisher's wish (RFC 8628, section 5.4):
// the page says from where the device asks, and what a phisher says.
//
// # Trust and limits
//
// Everything of a request is a stranger's, and bounded by oauth.MaxForm. A
// secret is neither logged nor in an address, but for the code, which is what
// the protocol has it be.
package oauthd

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"

	"gatepost/internal/account"
	"gatepost/internal/clock"
	"gatepost/internal/grant"
	"gatepost/internal/oauth"
)

// Console knows who is signed in with a browser, and frames pages.
type Console interface {
	// Signed returns who is signed in; fresh reports whether they showed
	// password and factor within the last minutes.
	Signed(r *http.Request) (a account.Account, fresh, ok bool)
	// SignInURL and ConfirmURL return where a browser is sent to sign in, or
	// to show once more who uses it; from there it comes back to next.
	SignInURL(next string) string
	ConfirmURL(next string) string
	// SameOrigin returns why a request that changes something is not to be
	// believed.
	SameOrigin(r *http.Request) error
	// Render answers with a page.
	Render(w http.ResponseWriter, r *http.Request, status int, title string, content template.HTML)
}

// Options configure a Server. All fields are required.
type Options struct {
	Console Console
	Grants  *grant.Book
	Issuer  string // https://mx.example.org, without a path
	Clock   clock.Clock
	Log     *slog.Logger
	// Locate returns in which country an address is and who announces it;
	// empty where that is not known.
	Locate func(netip.Addr) (country, network string)
}

// Server answers. Its methods may be called from any goroutine.
type Server struct {
	o        Options
	metadata []byte
	pages    *template.Template
}

//go:embed templates/*.html
var templates embed.FS

// New returns a server.
func New(o Options) *Server {
	return &Server{
		o: o, metadata: oauth.Metadata(o.Issuer),
		pages: template.Must(template.New("").ParseFS(templates, "templates/*.html")),
	}
}

// Routes returns what is answered, by pattern of http.ServeMux.
func (s *Server) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		oauth.MetadataPath:  only(http.MethodGet, s.describe),
		oauth.TokenPath:     only(http.MethodPost, s.token),
		oauth.RevokePath:    only(http.MethodPost, s.revoke),
		oauth.DevicePath:    only(http.MethodPost, s.device),
		oauth.AuthorizePath: http.HandlerFunc(s.authorize),
		oauth.PagePath:      http.HandlerFunc(s.page),
	}
}

// only lets one method through.
func only(method string, h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
			w.Header().Set("Allow", method)
			http.Error(w, "this takes "+method+" alone", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	})
}

// describe answers with the metadata: RFC 8414, section 3.2.
func (s *Server) describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, _ = w.Write(s.metadata)
}

// form reads the body of a program's request. What is in the address is
// refused: addresses are logged on the way, and secrets do not belong there.
func form(r *http.Request) (oauth.Params, *oauth.Error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || r.URL.RawQuery != "" {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Text: "parameters are taken from a form in the body"}
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, oauth.MaxForm+1))
	if err != nil {
		return nil, &oauth.Error{Code: oauth.InvalidRequest, Text: "the request cannot be read"}
	}
	return oauth.ParseParams(string(raw))
}

// answer answers a program: RFC 6749, sections 5.1 and 5.2.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	status := http.StatusOK
	var bad *oauth.Error
	switch {
	case errors.As(err, &bad):
		status, v = http.StatusBadRequest, oauth.Failure{Code: bad.Code, Text: bad.Text}
		if bad.Code == oauth.Unavailable {
			status = http.StatusServiceUnavailable
		}
	case err != nil:
		s.o.Log.Error("a program could not be answered", "path", r.URL.Path, "error", err)
		status, v = http.StatusServiceUnavailable, oauth.Failure{Code: oauth.ServerError, Text: "something failed on our side"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// show answers with a page.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, title, name string, data any) {
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name+".html", data); err != nil {
		s.o.Log.Error("a page failed", "page", name, "error", err)
		http.Error(w, "Something failed on our side. Try again later.", http.StatusServiceUnavailable)
		return
	}
	s.o.Console.Render(w, r, status, title, template.HTML(b.String()))
}

// message answers with a few words.
func (s *Server) message(w http.ResponseWriter, r *http.Request, status int, title string, words ...string) {
	s.show(w, r, status, title, "message", struct {
		Title string
		Words []string
	}{title, words})
}

// visitor returns who asks, if they may allow something; else it has sent the
// browser to where that is shown, from where it comes back to next.
func (s *Server) visitor(w http.ResponseWriter, r *http.Request, next string) (account.Account, bool) {
	a, fresh, ok := s.o.Console.Signed(r)
	switch {
	case !ok:
		http.Redirect(w, r, s.o.Console.SignInURL(next), http.StatusSeeOther)
	case !fresh:
		http.Redirect(w, r, s.o.Console.ConfirmURL(next), http.StatusSeeOther)
	}
	return a, ok && fresh
}

// posted reads the form of one of our pages; if it is to be believed and is
// for the account that is signed in.
func (s *Server) posted(w http.ResponseWriter, r *http.Request, a account.Account) (oauth.Params, bool) {
	if err := s.o.Console.SameOrigin(r); err != nil {
		s.message(w, r, http.StatusForbidden, "This was not taken", "It did not come from a page of this server.")
		return nil, false
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, oauth.MaxForm+1))
	p, bad := oauth.ParseParams(string(raw))
	if err != nil || bad != nil {
		s.message(w, r, http.StatusBadRequest, "This was not taken", "The form cannot be read.")
		return nil, false
	}
	// Somebody else may have signed in with this browser since the page was
	// shown, and what they would allow is not theirs to see.
	if named := p["account"]; named != "" && named != a.Address.String() {
		s.message(w, r, http.StatusConflict, "This was not taken", "The page was for "+named+", and now "+a.Address.Unicode()+" is signed in. Begin anew.")
		return nil, false
	}
	return p, true
}

func owner(a account.Account) grant.Owner { return grant.Owner{ID: a.ID, Address: a.Address} }
