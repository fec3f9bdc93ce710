package console

import (
	"net/http"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/console/browser"
	"gatepost/internal/console/page"
)

// Bounds of what pages show.
const (
	latest      = 5   // on the overview
	mostHistory = 100 // on the page of activity
)

// overview is the page that everything is found from.
type overview struct {
	Done     string
	Account  account.Account
	Factors  account.Factors
	Devices  int
	Sessions int
	Events   []activity.Event
}

func (c *Console) accountPage(w http.ResponseWriter, r *http.Request) {
	o, err := c.overview(r)
	if err != nil {
		c.failed(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, "Your account", "account", o)
}

func (c *Console) overview(r *http.Request) (o overview, err error) {
	a := who(r).account
	o = overview{Done: page.Done(r.FormValue("done")), Account: a}
	if o.Factors, err = c.o.Directory.Factors(r.Context(), a.Address); err != nil {
		return o, err
	}
	devices, err := c.o.Directory.Devices(r.Context(), a.Address)
	if err != nil {
		return o, err
	}
	sessions, err := c.sessions.List(r.Context(), a.ID)
	if err != nil {
		return o, err
	}
	o.Devices, o.Sessions = len(devices), len(sessions)
	o.Events, err = c.history(r, latest)
	return o, err
}

func (c *Console) history(r *http.Request, most int) ([]activity.Event, error) {
	a := who(r).account
	return c.o.Activity.Last(r.Context(), a.ID, a.Address.Unicode(), most)
}

func (c *Console) activityPage(w http.ResponseWriter, r *http.Request) {
	list, err := c.history(r, mostHistory)
	if err != nil {
		c.failed(w, r, err)
		return
	}
	c.show(w, r, http.StatusOK, "Activity", "activity", list)
}

// passwordView is the page of the password.
type passwordView struct {
	Done, Problem string
	Fresh         bool
	ConfirmURL    string
	Words         []string
	Account       string
}

func (c *Console) passwordPage(w http.ResponseWriter, r *http.Request) {
	c.password(w, r, http.StatusOK, "")
}

func (c *Console) password(w http.ResponseWriter, r *http.Request, status int, problem string) {
	v := who(r)
	c.show(w, r, status, "Password", "password", passwordView{
		Done: page.Done(r.FormValue("done")), Problem: problem, Fresh: v.fresh, ConfirmURL: c.ConfirmURL("/password"),
		Words: c.o.Directory.PasswordWords(), Account: v.account.Address.Unicode(),
	})
}

func (c *Console) changePassword(w http.ResponseWriter, r *http.Request) {
	pw := r.PostFormValue("password")
	if pw != r.PostFormValue("repeated") {
		c.password(w, r, http.StatusUnprocessableEntity, "The two are not the same. Type the new password in both fields.")
		return
	}
	if err := c.o.Directory.SetPassword(c.by(r), who(r).account.Address, pw); err != nil {
		c.declined(w, r, err, func(words string) { c.password(w, r, http.StatusUnprocessableEntity, words) })
		return
	}
	if r, err := c.again(w, r); err != nil {
		c.failed(w, r, err)
		return
	}
	http.Redirect(w, r, "/password?done=password-set", http.StatusSeeOther)
}

func (c *Console) lockPage(w http.ResponseWriter, r *http.Request) {
	c.show(w, r, http.StatusOK, "Lock your account", "lock", who(r).account.Address.Unicode())
}

// lock freezes the account of whoever asks. It wants no fresh session: who
// sees somebody else in his mail must be quick, and nothing is lost by it.
func (c *Console) lock(w http.ResponseWriter, r *http.Request) {
	if err := c.o.Directory.Freeze(c.by(r), who(r).account.Address); err != nil {
		c.failed(w, r, err)
		return
	}
	browser.Take(w)
	http.Redirect(w, r, "/sign-in?done=locked", http.StatusSeeOther)
}
