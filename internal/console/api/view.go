package api

import (
	"net/http"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/store"
)

// Device is a device in JSON, and on its page.
type Device struct {
	ID       int64      `json:"id"`
	Name     string     `json:"name"`
	Scope    string     `json:"scope"`
	Expires  *time.Time `json:"expires"` // null: never
	Networks []string   `json:"networks"`
	Created  time.Time  `json:"created"`
	Used     *time.Time `json:"used"`               // null: never
	Password string     `json:"password,omitempty"` // once
}

// DeviceOf returns a device; its password is given once.
func DeviceOf(d account.Device, password string) Device {
	t := d.Terms
	return Device{d.ID, d.Name, string(t.Scope), Moment(t.Expires), account.Networks(t.Networks), d.Created, Moment(d.Used), password}
}

// DevicesOf returns devices.
func DevicesOf(devices []account.Device) []Device {
	list := make([]Device, len(devices))
	for i, d := range devices {
		list[i] = DeviceOf(d, "")
	}
	return list
}

// Moment returns a time as JSON has it, null for never.
func Moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Factor is a second factor in JSON.
type Factor struct {
	ID      int64      `json:"id"`
	Kind    string     `json:"kind"` // totp or passkey
	Name    string     `json:"name"`
	Created time.Time  `json:"created"`
	Used    *time.Time `json:"used"` // null: never
}

// Codes are recovery codes in JSON; none where there were some already.
type Codes struct {
	List []string `json:"recovery_codes"`
}

// Terms reads what the password of a new device is good for.
func Terms(scope string, expires time.Time, networks []string) (t account.Terms, err error) {
	if scope != "" {
		if t.Scope, err = account.ParseScope(scope); err != nil {
			return t, err
		}
	}
	t.Expires = expires
	t.Networks, err = account.ParseNetworks(networks)
	return t, err
}

// Account is an account in JSON.
type Account struct {
	Address string    `json:"address"`
	Role    string    `json:"role"`
	Frozen  bool      `json:"frozen"`
	Factors int       `json:"factors"`
	Owes    bool      `json:"owes_factor"`
	Created time.Time `json:"created"`
}

// AccountOf returns an account, and whether it owes a second factor.
func AccountOf(a account.Account, owes bool) Account {
	return Account{a.Address.Unicode(), string(a.Role), a.Frozen, a.Factors, owes, a.Created}
}

// Session is a session in JSON.
type Session struct {
	ID      int64     `json:"id"`
	Browser string    `json:"browser"`
	Client  string    `json:"client"`
	Address string    `json:"address,omitempty"`
	Made    time.Time `json:"made"`
	Used    time.Time `json:"used"`
	Current bool      `json:"current"`
}

// Factors are those of an account in JSON.
type Factors struct {
	List  []Factor `json:"factors"`
	Codes int      `json:"recovery_codes"`
}

// FactorsOf returns the factors of an account.
func FactorsOf(all account.Factors) Factors {
	list := make([]Factor, len(all.List))
	for i, f := range all.List {
		list[i] = Factor{f.ID, f.Kind, f.Name, f.Created, Moment(f.Used)}
	}
	return Factors{list, all.Codes}
}

// Declined is what the API tells of a change that the directory did not make.
func Declined(err error) error {
	if err == nil || store.Failed(err) {
		return err
	}
	return Refuse(http.StatusUnprocessableEntity, err.Error())
}
