package console

import (
	"encoding/json"
	"net/http"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/console/api"
	"gatepost/internal/console/browser"
)

func (c *Console) accountOf(a account.Account) api.Account {
	return api.AccountOf(a, c.o.Directory.Owes(a))
}

func (c *Console) apiAccount(_ http.ResponseWriter, r *http.Request) (any, error) {
	v := who(r)
	return struct {
		api.Account
		Fresh bool `json:"fresh"`
	}{c.accountOf(v.account), v.fresh}, nil
}

func (c *Console) apiActivity(_ http.ResponseWriter, r *http.Request) (any, error) {
	events, err := c.history(r, mostHistory)
	list := make([]activity.View, len(events))
	for i := range events {
		list[i] = events[i].View()
	}
	return list, err
}

func (c *Console) apiPassword(w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Password string `json:"password"`
	}
	if err := api.Read(r, &in); err != nil {
		return nil, err
	}
	if err := c.o.Directory.SetPassword(c.by(r), who(r).account.Address, in.Password); err != nil {
		return nil, api.Declined(err)
	}
	_, err := c.again(w, r)
	return nil, err
}

func (c *Console) apiLock(w http.ResponseWriter, r *http.Request) (any, error) {
	browser.Take(w)
	return nil, c.o.Directory.Freeze(c.by(r), who(r).account.Address)
}

func (c *Console) apiDevices(_ http.ResponseWriter, r *http.Request) (any, error) {
	devices, err := c.o.Directory.Devices(r.Context(), who(r).account.Address)
	return api.DevicesOf(devices), err
}

func (c *Console) apiAddDevice(_ http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Name     string    `json:"name"`
		Scope    string    `json:"scope"`
		Expires  time.Time `json:"expires"`
		Networks []string  `json:"networks"`
	}
	if err := api.Read(r, &in); err != nil {
		return nil, err
	}
	t, err := api.Terms(in.Scope, in.Expires, in.Networks)
	if err != nil {
		return nil, api.Declined(err)
	}
	d, password, err := c.o.Directory.AddDevice(c.by(r), who(r).account.Address, in.Name, t)
	return api.DeviceOf(d, password), api.Declined(err)
}

func (c *Console) apiRemoveDevice(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, api.Declined(c.o.Directory.RemoveDevice(c.by(r), who(r).account.Address, number(r)))
}

func (c *Console) apiFactors(_ http.ResponseWriter, r *http.Request) (any, error) {
	all, err := c.o.Directory.Factors(r.Context(), who(r).account.Address)
	return api.FactorsOf(all), err
}

func (c *Console) apiStartApp(_ http.ResponseWriter, r *http.Request) (any, error) {
	s, err := c.o.Directory.TOTPStart(r.Context(), who(r).account.Address)
	return struct {
		Secret string `json:"secret"`
		URI    string `json:"uri"`
		State  string `json:"state"`
	}{s.Secret, s.URI, s.State}, api.Declined(err)
}

func (c *Console) apiAddApp(w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		State string `json:"state"`
		Name  string `json:"name"`
		Code  string `json:"code"`
	}
	if err := api.Read(r, &in); err != nil {
		return nil, err
	}
	codes, err := c.o.Directory.TOTPConfirm(c.by(r), who(r).account.Address, in.State, in.Name, in.Code, browser.Client(r))
	return c.apiAdded(w, r, codes, err)
}

func (c *Console) apiAdded(w http.ResponseWriter, r *http.Request, codes []string, err error) (any, error) {
	if err != nil {
		return nil, api.Declined(err)
	}
	_, err = c.again(w, r)
	return api.Codes{List: append([]string{}, codes...)}, err
}

func (c *Console) apiStartPasskey(_ http.ResponseWriter, r *http.Request) (any, error) {
	options, state, err := c.o.Directory.PasskeyAdd(r.Context(), who(r).account.Address)
	return begun{options, state}, api.Declined(err)
}

func (c *Console) apiAddPasskey(w http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		State    string          `json:"state"`
		Name     string          `json:"name"`
		Response json.RawMessage `json:"response"`
	}
	if err := api.Read(r, &in); err != nil {
		return nil, err
	}
	codes, err := c.o.Directory.PasskeyConfirm(c.by(r), who(r).account.Address, in.State, in.Name, in.Response, browser.Client(r))
	return c.apiAdded(w, r, codes, err)
}

func (c *Console) apiRemoveFactor(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := c.o.Directory.RemoveFactor(c.by(r), who(r).account.Address, number(r), browser.Client(r)); err != nil {
		return nil, api.Declined(err)
	}
	_, err := c.again(w, r)
	return nil, err
}

func (c *Console) apiNewCodes(_ http.ResponseWriter, r *http.Request) (any, error) {
	codes, err := c.o.Directory.RecoveryCodes(c.by(r), who(r).account.Address, browser.Client(r))
	return api.Codes{List: codes}, api.Declined(err)
}

func (c *Console) apiAccounts(_ http.ResponseWriter, r *http.Request) (any, error) {
	all, err := c.o.Directory.Accounts(r.Context())
	list := make([]api.Account, len(all))
	for i, a := range all {
		list[i] = c.accountOf(a)
	}
	return list, err
}

// apiFreeze freezes an account or releases it.
func (c *Console) apiFreeze(frozen bool) call {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		a, err := addr.Parse(r.PathValue("address"))
		if err != nil {
			return nil, api.Refuse(http.StatusUnprocessableEntity, "that is not an address")
		}
		if frozen {
			return nil, api.Declined(c.o.Directory.Freeze(c.by(r), a))
		}
		return nil, api.Declined(c.o.Directory.Release(c.by(r), a))
	}
}
