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

// accountView is an account in JSON.
type accountView struct {
	Address string    `json:"address"`
	Role    string    `json:"role"`
	Frozen  bool      `json:"frozen"`
	Factors int       `json:"factors"`
	Owes    bool      `json:"owes_factor"`
	Created time.Time `json:"created"`
}

func (c *Console) view(a account.Account) accountView {
	return accountView{a.Address.Unicode(), string(a.Role), a.Frozen, a.Factors, c.o.Directory.Owes(a), a.Created}
}

func (c *Console) apiAccount(_ http.ResponseWriter, r *http.Request) (any, error) {
	v := who(r)
	return struct {
		accountView
		Fresh bool `json:"fresh"`
	}{c.view(v.account), v.fresh}, nil
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
		return nil, declined(err)
	}
	_, err := c.again(w, r)
	return nil, err
}

func (c *Console) apiLock(w http.ResponseWriter, r *http.Request) (any, error) {
	browser.Take(w)
	return nil, c.o.Directory.Freeze(c.by(r), who(r).account.Address)
}

// deviceInfo is a device in JSON.
type deviceInfo struct {
	ID       int64      `json:"id"`
	Name     string     `json:"name"`
	Created  time.Time  `json:"created"`
	Used     *time.Time `json:"used"`               // null: never
	Password string     `json:"password,omitempty"` // once
}

func deviceOf(d account.Device, password string) deviceInfo {
	return deviceInfo{d.ID, d.Name, d.Created, moment(d.Used), password}
}

// moment returns a time as JSON has it, null for never.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (c *Console) apiDevices(_ http.ResponseWriter, r *http.Request) (any, error) {
	devices, err := c.o.Directory.Devices(r.Context(), who(r).account.Address)
	list := make([]deviceInfo, len(devices))
	for i, d := range devices {
		list[i] = deviceOf(d, "")
	}
	return list, err
}

func (c *Console) apiAddDevice(_ http.ResponseWriter, r *http.Request) (any, error) {
	var in struct {
		Name string `json:"name"`
	}
	if err := api.Read(r, &in); err != nil {
		return nil, err
	}
	d, password, err := c.o.Directory.AddDevice(c.by(r), who(r).account.Address, in.Name, account.Terms{})
	return deviceOf(d, password), declined(err)
}

func (c *Console) apiRemoveDevice(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, declined(c.o.Directory.RemoveDevice(c.by(r), who(r).account.Address, number(r)))
}

// factorInfo is a second factor in JSON.
type factorInfo struct {
	ID      int64      `json:"id"`
	Kind    string     `json:"kind"` // totp or passkey
	Name    string     `json:"name"`
	Created time.Time  `json:"created"`
	Used    *time.Time `json:"used"` // null: never
}

func (c *Console) apiFactors(_ http.ResponseWriter, r *http.Request) (any, error) {
	all, err := c.o.Directory.Factors(r.Context(), who(r).account.Address)
	list := make([]factorInfo, len(all.List))
	for i, f := range all.List {
		list[i] = factorInfo{f.ID, f.Kind, f.Name, f.Created, moment(f.Used)}
	}
	return struct {
		Factors []factorInfo `json:"factors"`
		Codes   int          `json:"recovery_codes"`
	}{list, all.Codes}, err
}

// codesView are recovery codes in JSON; none where there were some already.
type codesView struct {
	Codes []string `json:"recovery_codes"`
}

func (c *Console) apiStartApp(_ http.ResponseWriter, r *http.Request) (any, error) {
	s, err := c.o.Directory.TOTPStart(r.Context(), who(r).account.Address)
	return struct {
		Secret string `json:"secret"`
		URI    string `json:"uri"`
		State  string `json:"state"`
	}{s.Secret, s.URI, s.State}, declined(err)
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
		return nil, declined(err)
	}
	_, err = c.again(w, r)
	return codesView{append([]string{}, codes...)}, err
}

func (c *Console) apiStartPasskey(_ http.ResponseWriter, r *http.Request) (any, error) {
	options, state, err := c.o.Directory.PasskeyAdd(r.Context(), who(r).account.Address)
	return begun{options, state}, declined(err)
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
		return nil, declined(err)
	}
	_, err := c.again(w, r)
	return nil, err
}

func (c *Console) apiNewCodes(_ http.ResponseWriter, r *http.Request) (any, error) {
	codes, err := c.o.Directory.RecoveryCodes(c.by(r), who(r).account.Address, browser.Client(r))
	return codesView{codes}, declined(err)
}

func (c *Console) apiAccounts(_ http.ResponseWriter, r *http.Request) (any, error) {
	all, err := c.o.Directory.Accounts(r.Context())
	list := make([]accountView, len(all))
	for i, a := range all {
		list[i] = c.view(a)
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
			return nil, declined(c.o.Directory.Freeze(c.by(r), a))
		}
		return nil, declined(c.o.Directory.Release(c.by(r), a))
	}
}
