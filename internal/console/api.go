package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"gatepost/internal/account"
	"gatepost/internal/console/api"
	"gatepost/internal/console/browser"
	"gatepost/internal/console/session"
	"gatepost/internal/envelope"
)

// call answers one call of the API: with a value, which becomes JSON, or an
// error. A refusal of ours is an *api.Refusal; anything else is a fault, of which
// nothing is told.
type call func(w http.ResponseWriter, r *http.Request) (any, error)

// What calls need.
type need int

const (
	needNothing    need = iota
	needEnrolled        // a session, which may owe a second factor
	needSession         // one that owes none
	needFresh           // password and factor were shown a moment ago
	needEnrolment       // a fresh session, which may owe a second factor
	needAdmin           // a session of an administrator
	needFreshAdmin      // and a fresh one
)

// apiRoutes names the calls; docs/console.md tells of them.
func (c *Console) apiRoutes() {
	for _, route := range []struct {
		pattern string
		need    need
		call    call
	}{
		{"POST /api/sign-in", needNothing, c.apiSignIn},
		{"POST /api/sign-in/passkey/start", needNothing, c.apiPasskeyStart},
		{"POST /api/sign-in/passkey", needNothing, c.apiPasskey},
		{"POST /api/sign-out", needNothing, c.apiSignOut},
		{"POST /api/confirm", needEnrolled, c.apiConfirm},
		{"POST /api/confirm/passkey/start", needEnrolled, c.apiConfirmStart},
		{"POST /api/confirm/passkey", needEnrolled, c.apiConfirmPasskey},
		{"GET /api/account", needEnrolled, c.apiAccount},
		{"GET /api/activity", needSession, c.apiActivity},
		{"POST /api/password", needFresh, c.apiPassword},
		{"POST /api/lock", needEnrolled, c.apiLock},
		{"GET /api/factors", needEnrolled, c.apiFactors},
		{"POST /api/factors/app/start", needEnrolment, c.apiStartApp},
		{"POST /api/factors/app", needEnrolment, c.apiAddApp},
		{"POST /api/factors/passkey/start", needEnrolment, c.apiStartPasskey},
		{"POST /api/factors/passkey", needEnrolment, c.apiAddPasskey},
		{"POST /api/factors/codes", needFresh, c.apiNewCodes},
		{"DELETE /api/factors/{id}", needFresh, c.apiRemoveFactor},
		{"GET /api/devices", needSession, c.apiDevices},
		{"POST /api/devices", needFresh, c.apiAddDevice},
		{"DELETE /api/devices/{id}", needFresh, c.apiRemoveDevice},
		{"GET /api/admin/accounts", needAdmin, c.apiAccounts},
		{"POST /api/admin/accounts/{address}/freeze", needFreshAdmin, c.apiFreeze(true)},
		{"POST /api/admin/accounts/{address}/release", needFreshAdmin, c.apiFreeze(false)},
		{"GET /api/sessions", needSession, c.apiSessions},
		{"DELETE /api/sessions/{id}", needSession, c.apiEndSession},
		{"POST /api/sessions/end-others", needSession, c.apiEndOthers},
	} {
		c.route(route.pattern, c.answer(route.need, route.call))
	}
	c.route("/api/", c.answer(needNothing, func(http.ResponseWriter, *http.Request) (any, error) {
		return nil, api.Refuse(http.StatusNotFound, "there is no such call")
	}))
}

// answer makes a handler of a call.
func (c *Console) answer(n need, f call) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r, err := c.admit(n, r)
		var v any
		if err == nil {
			v, err = f(w, r)
		}
		status := http.StatusOK
		if err != nil {
			status, err = c.told(r, err)
			v = struct {
				Error string `json:"error"`
			}{err.Error()}
		} else if v == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		api.Write(w, status, v)
	}
}

// admit decides whether a call may be made.
func (c *Console) admit(n need, r *http.Request) (*http.Request, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if err := browser.SameOrigin(r); err != nil {
			return r, api.Refuse(http.StatusForbidden, err.Error())
		}
	}
	if n == needNothing {
		return r, nil
	}
	v, err := c.visitor(r)
	switch {
	case errors.Is(err, session.ErrNone):
		return r, api.Refuse(http.StatusUnauthorized, "sign in first, with POST /api/sign-in")
	case err != nil:
		return r, err
	case c.o.Directory.Owes(v.account) && n != needEnrolled && n != needEnrolment:
		return r, api.Refuse(http.StatusForbidden, "this account must have a second factor before anything else; add one, with POST /api/factors/app/start")
	case (n == needAdmin || n == needFreshAdmin) && v.account.Role != account.Admin:
		return r, api.Refuse(http.StatusForbidden, "this is for administrators")
	case (n == needFresh || n == needEnrolment || n == needFreshAdmin) && !v.fresh:
		return r, api.Refuse(http.StatusForbidden, "confirm first that it is you, with POST /api/confirm")
	}
	return r.WithContext(context.WithValue(r.Context(), visitorKey{}, v)), nil
}

// told returns what is told of an error.
func (c *Console) told(r *http.Request, err error) (int, error) {
	var refusal *api.Refusal
	var reply *envelope.Error
	switch {
	case errors.As(err, &refusal):
		return refusal.Status, refusal
	case errors.As(err, &reply):
		status, words := c.refusal(r, err)
		return status, errors.New(words)
	}
	c.o.Log.Error("a call failed", "path", r.Pattern, "error", err)
	return http.StatusServiceUnavailable, errors.New("something failed on our side; try again later")
}

// shown is what somebody shows.
type shown struct {
	Login    string `json:"login"`
	Password string `json:"password"`
	Code     string `json:"code"`
}

// answered is what a passkey answers.
type answered struct {
	State    string          `json:"state"`
	Response json.RawMessage `json:"response"`
}

// begun is what a passkey is asked.
type begun struct {
	Options json.RawMessage `json:"options"`
	State   string          `json:"state"`
}

// entered tells who is signed in now.
type entered struct {
	Account string `json:"account"`
	Owes    bool   `json:"owes_factor"`
}

func (c *Console) apiSignIn(w http.ResponseWriter, r *http.Request) (any, error) {
	var in shown
	if err := api.Read(r, &in); err != nil {
		return nil, err
	}
	a, err := c.o.Directory.SignIn(r.Context(), in.Login, in.Password, in.Code, browser.Client(r))
	return c.entered(w, r, a, err)
}

// entered gives whoever signed in a session.
func (c *Console) entered(w http.ResponseWriter, r *http.Request, a account.Account, err error) (any, error) {
	if err == nil {
		err = c.enter(w, r, a.ID)
	}
	return entered{a.Address.Unicode(), c.o.Directory.Owes(a)}, err
}

func (c *Console) apiPasskeyStart(_ http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Login string `json:"login"`
	}
	if err := api.Read(r, &in); err != nil {
		return nil, err
	}
	return c.ask(r, in.Login)
}

// ask begins what a passkey answers.
func (c *Console) ask(r *http.Request, login string) (any, error) {
	options, state, err := c.o.Directory.PasskeyStart(r.Context(), login)
	return begun{options, state}, err
}

func (c *Console) apiPasskey(w http.ResponseWriter, r *http.Request) (any, error) {
	a, err := c.passkey(r)
	return c.entered(w, r, a, err)
}

// passkey returns whose passkey was shown.
func (c *Console) passkey(r *http.Request) (account.Account, error) {
	var in answered
	if err := api.Read(r, &in); err != nil {
		return account.Account{}, err
	}
	return c.o.Directory.PasskeySignIn(r.Context(), in.State, in.Response, browser.Client(r))
}

func (c *Console) apiSignOut(w http.ResponseWriter, r *http.Request) (any, error) {
	return nil, c.leave(w, r)
}

func (c *Console) apiConfirm(w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Password string `json:"password"`
		Code     string `json:"code"`
	}
	if err := api.Read(r, &in); err != nil {
		return nil, err
	}
	a, err := c.o.Directory.SignIn(r.Context(), who(r).account.Address.Unicode(), in.Password, in.Code, browser.Client(r))
	if err == nil {
		err = c.stepUp(w, r, a.ID)
	}
	return nil, err
}

// apiConfirmStart asks for any passkey of the account, and so for no name: the
// list of a name is short. That it is the account's is for stepUp.
func (c *Console) apiConfirmStart(_ http.ResponseWriter, r *http.Request) (any, error) {
	return c.ask(r, "")
}

func (c *Console) apiConfirmPasskey(w http.ResponseWriter, r *http.Request) (any, error) {
	a, err := c.passkey(r)
	if err == nil {
		err = c.stepUp(w, r, a.ID)
	}
	return nil, err
}
