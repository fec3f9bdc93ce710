package console

import (
	"context"
	"html/template"
	"io"
	"log/slog"
	"net/http"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/console/browser"
	"gatepost/internal/console/next"
	"gatepost/internal/console/page"
	"gatepost/internal/console/session"
	"gatepost/internal/store"
)

// Directory knows the people, and makes every change.
type Directory interface {
	// SignIn decides about password and code together, with one refusal.
	SignIn(ctx context.Context, login, password, code string, c activity.Client) (account.Account, error)
	// PasskeyStart begins a sign-in with a passkey; login may be empty.
	PasskeyStart(ctx context.Context, login string) (options []byte, state string, err error)
	// PasskeySignIn decides about the answer, with the refusal of SignIn.
	PasskeySignIn(ctx context.Context, state string, response []byte, c activity.Client) (account.Account, error)
	// Account returns an account by its address.
	Account(ctx context.Context, a addr.Address) (account.Account, error)
	// Accounts returns all of them.
	Accounts(ctx context.Context) ([]account.Account, error)
	// Owes reports whether an account must have a second factor and has none.
	Owes(a account.Account) bool

	// Of what follows, errors that are not of the store say to people why
	// something cannot be.

	Factors(ctx context.Context, a addr.Address) (account.Factors, error)
	TOTPStart(ctx context.Context, a addr.Address) (account.AppSetup, error)
	TOTPConfirm(ctx context.Context, a addr.Address, state, name, code string, c activity.Client) (codes []string, err error)
	PasskeyAdd(ctx context.Context, a addr.Address) (options []byte, state string, err error)
	PasskeyConfirm(ctx context.Context, a addr.Address, state, name string, response []byte, c activity.Client) (codes []string, err error)
	RecoveryCodes(ctx context.Context, a addr.Address, c activity.Client) ([]string, error)
	RemoveFactor(ctx context.Context, a addr.Address, id int64, c activity.Client) error

	Devices(ctx context.Context, a addr.Address) ([]account.Device, error)
	AddDevice(ctx context.Context, a addr.Address, name string, t account.Terms) (d account.Device, password string, err error)
	RemoveDevice(ctx context.Context, a addr.Address, id int64) error

	PasswordWords() []string
	SetPassword(ctx context.Context, a addr.Address, password string) error
	Freeze(ctx context.Context, a addr.Address) error
	Release(ctx context.Context, a addr.Address) error
}

// Activity knows what happened to accounts.
type Activity interface {
	// Last returns the latest events, the last first.
	Last(ctx context.Context, owner int64, account string, most int) ([]activity.Event, error)
}

// Options configure a Console. All fields are required.
type Options struct {
	Directory Directory
	Activity  Activity
	Store     *store.DB
	Hostname  addr.Domain // what the pages call the server
	Clock     clock.Clock
	Random    io.Reader // cryptographically secure
	Log       *slog.Logger
}

// Console answers for the pages. Its methods may be called from any
// goroutine, but for Handle, which comes before the first request.
type Console struct {
	o        Options
	sessions *session.Book
	pages    *page.Pages
	mux      *http.ServeMux
	patterns []string // of the mux: what is ours
}

// New returns a console.
func New(o Options) *Console {
	c := &Console{
		o:        o,
		sessions: &session.Book{DB: o.Store, Clock: o.Clock, Random: o.Random},
		pages:    page.New(),
		mux:      http.NewServeMux(),
	}
	c.routes()
	return c
}

// routes names everything that is answered.
func (c *Console) routes() {
	c.mux.HandleFunc("GET "+page.StaticPath, c.pages.Static)
	for pattern, h := range map[string]http.HandlerFunc{
		"GET /{$}":       c.root,
		"GET /sign-in":   c.signInPage,
		"POST /sign-in":  c.posted(c.signIn),
		"POST /sign-out": c.posted(c.signOut),

		"GET /confirm":  c.signed(c.confirmPage),
		"POST /confirm": c.posted(c.signed(c.confirm)),

		"GET /account":   c.signed(c.accountPage),
		"GET /activity":  c.signed(c.activityPage),
		"GET /password":  c.signed(c.passwordPage),
		"POST /password": c.posted(c.fresh(c.changePassword)),
		"GET /lock":      c.signed(c.lockPage),
		"POST /lock":     c.posted(c.signed(c.lock)),

		"GET /factors":              c.signed(c.factorsPage),
		"POST /factors/app":         c.posted(c.fresh(c.startApp)),
		"POST /factors/app/confirm": c.posted(c.fresh(c.confirmApp, "name")),
		"POST /factors/passkey":     c.posted(c.fresh(c.addPasskey, "name")),
		"POST /factors/codes":       c.posted(c.fresh(c.newCodes)),
		"POST /factors/{id}/remove": c.posted(c.fresh(c.removeFactor)),

		"GET /devices":              c.signed(c.devicesPage),
		"POST /devices":             c.posted(c.fresh(c.addDevice, "name", "scope", "days", "networks")),
		"POST /devices/{id}/remove": c.posted(c.fresh(c.removeDevice)),

		"GET /sessions":             c.signed(c.sessionsPage),
		"POST /sessions/{id}/end":   c.posted(c.signed(c.endSession)),
		"POST /sessions/end-others": c.posted(c.signed(c.endOthers)),

		"/": c.nothing,
	} {
		c.route(pattern, h)
	}
	c.apiRoutes()
}

func (c *Console) route(pattern string, h http.HandlerFunc) {
	c.patterns = append(c.patterns, pattern)
	c.mux.HandleFunc(pattern, h)
}

// Handle adds the pages of another package, below a pattern of
// http.ServeMux. They get the headers of all pages (a handler may replace
// one), and no more: SameOrigin and Signed are for them to ask.
func (c *Console) Handle(pattern string, h http.Handler) { c.mux.Handle(pattern, h) }

// ServeHTTP answers a request, which web has found to be for our host name.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	browser.Protect(w.Header())
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	c.mux.ServeHTTP(w, r)
}

// maxBody bounds what is read of a request, in octets: the largest is a new
// passkey with an attestation.
const maxBody = 64 << 10

// Signed returns who is signed in with the browser that asks; fresh reports
// whether password and factor, or a passkey, were shown within the last
// minutes. One who owes a second factor is not ok.
func (c *Console) Signed(r *http.Request) (a account.Account, fresh, ok bool) {
	v, err := c.visitor(r)
	if err != nil || c.o.Directory.Owes(v.account) {
		return account.Account{}, false, false
	}
	return v.account, v.fresh, true
}

// SignInURL returns where to send a browser in which nobody is signed in;
// from there it comes back to next, which is a path of ours.
func (c *Console) SignInURL(next string) string { return with("/sign-in", next) }

// ConfirmURL returns where to send a browser that is to show once more who
// uses it.
func (c *Console) ConfirmURL(next string) string { return with("/confirm", next) }

// Titled is Render for a page of another package that does not bring its own
// heading.
func (c *Console) Titled(w http.ResponseWriter, r *http.Request, status int, title string, content template.HTML) {
	framed, err := c.pages.Content("other", struct {
		Title   string
		Content template.HTML
	}{title, content})
	if err != nil {
		c.failed(w, r, err)
		return
	}
	c.Render(w, r, status, title, framed)
}

// Render answers with a page in the layout of the console.
func (c *Console) Render(w http.ResponseWriter, r *http.Request, status int, title string, content template.HTML) {
	f := page.Frame{Title: title, Host: c.o.Hostname.Unicode()}
	if v, err := c.visitor(r); err == nil {
		f.Account = v.account.Address.Unicode()
		f.Owes = c.o.Directory.Owes(v.account)
	}
	f.Section = section(r.URL.Path)
	if err := c.pages.Write(w, status, f, content); err != nil {
		c.o.Log.Debug("a page could not be sent", "error", err)
	}
}

// show draws a template and answers with it.
func (c *Console) show(w http.ResponseWriter, r *http.Request, status int, title, name string, data any) {
	content, err := c.pages.Content(name, data)
	if err != nil {
		c.failed(w, r, err)
		return
	}
	c.Render(w, r, status, title, content)
}

// message answers with a few words and a way out.
func (c *Console) message(w http.ResponseWriter, r *http.Request, status int, title, text, href, link string) {
	c.show(w, r, status, title, "message", struct{ Title, Text, Href, Link string }{title, text, href, link})
}

// failed answers where something of ours failed; what, is in the log alone.
func (c *Console) failed(w http.ResponseWriter, r *http.Request, err error) {
	c.o.Log.Error("a page failed", "path", r.Pattern, "error", err)
	http.Error(w, "Something failed on our side. Try again later.", http.StatusServiceUnavailable)
}

func (c *Console) root(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, next.Home, http.StatusSeeOther)
}

func (c *Console) nothing(w http.ResponseWriter, r *http.Request) {
	c.message(w, r, http.StatusNotFound, "There is nothing here", "The address may be mistyped, or what was here is gone.", next.Home, "To the overview")
}
