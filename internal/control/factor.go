package control

import (
	"context"
	"maps"
	"slices"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/activity"
)

// operator is who asks for what comes through here: the log of activity takes
// it from the context, which knows their name (By).
var operator activity.Client

// FactorInfo is what an operator sees of a second factor.
type FactorInfo struct {
	ID      int64      `json:"id"`
	Kind    string     `json:"kind"` // totp or passkey
	Name    string     `json:"name"`
	Host    string     `json:"host,omitempty"` // that a passkey works at
	Created time.Time  `json:"created"`
	Used    *time.Time `json:"used"` // null: never
}

// FactorsInfo are the second factors of an account.
type FactorsInfo struct {
	Account       string       `json:"account"`
	Required      bool         `json:"required"` // its role must have one, and it has none
	Factors       []FactorInfo `json:"factors"`
	RecoveryCodes int          `json:"recovery_codes"` // that are left
}

func (d *Desk) listFactors(ctx context.Context, a Name, emit Emit) error {
	acc, err := d.account(ctx, a.Name)
	if err != nil {
		return err
	}
	all, err := d.Directory.Factors(ctx, acc.Address)
	if err != nil {
		return err
	}
	info := FactorsInfo{Account: acc.Address.Unicode(), Required: d.Directory.Owes(acc), Factors: []FactorInfo{}, RecoveryCodes: all.Codes}
	for _, f := range all.List {
		info.Factors = append(info.Factors, factorInfo(f))
	}
	return emit(info, nil)
}

func factorInfo(f account.Factor) FactorInfo {
	info := FactorInfo{ID: f.ID, Kind: f.Kind, Name: f.Name, Host: f.Site, Created: f.Created}
	if !f.Used.IsZero() {
		info.Used = &f.Used
	}
	return info
}

// AppSetup is what an app is set up with.
type AppSetup struct {
	Secret string `json:"secret"`
	URI    string `json:"uri"`
	State  string `json:"state"`
}

func (d *Desk) startTOTP(ctx context.Context, a Name, emit Emit) error {
	address, err := parseAddress(a.Name)
	if err != nil {
		return err
	}
	s, err := d.Directory.TOTPStart(ctx, address)
	if err != nil {
		return err
	}
	return emit(AppSetup{Secret: s.Secret, URI: s.URI, State: s.State}, nil)
}

// AppConfirm are the arguments of factor.confirm.
type AppConfirm struct {
	Address string `json:"address"`
	State   string `json:"state"`
	Name    string `json:"name"`
	Code    string `json:"code"`
}

// Codes are recovery codes, which are shown once; none where there were some.
type Codes struct {
	Codes []string `json:"recovery_codes"`
}

func (d *Desk) confirmTOTP(ctx context.Context, a AppConfirm, emit Emit) error {
	address, err := parseAddress(a.Address)
	if err != nil {
		return err
	}
	codes, err := d.Directory.TOTPConfirm(ctx, address, a.State, a.Name, a.Code, operator)
	if err != nil {
		return err
	}
	if codes == nil {
		codes = []string{}
	}
	return emit(Codes{codes}, nil)
}

func (d *Desk) makeCodes(ctx context.Context, a Name, emit Emit) error {
	address, err := parseAddress(a.Name)
	if err != nil {
		return err
	}
	codes, err := d.Directory.RecoveryCodes(ctx, address, operator)
	if err != nil {
		return err
	}
	return emit(Codes{codes}, nil)
}

// FactorRemove are the arguments of factor.remove: one factor, or all.
type FactorRemove struct {
	Address string `json:"address"`
	ID      int64  `json:"id"`
	All     bool   `json:"all"`
}

func (d *Desk) removeFactor(ctx context.Context, a FactorRemove, _ Emit) error {
	address, err := parseAddress(a.Address)
	if err != nil {
		return err
	}
	if a.All {
		return d.Directory.RemoveFactors(ctx, address, operator)
	}
	return d.Directory.RemoveFactor(ctx, address, a.ID, operator)
}

// PasskeySite tells for how many accounts there are passkeys that work at one
// host name alone.
type PasskeySite struct {
	Host     string `json:"host"`
	Accounts int    `json:"accounts"`
}

func (d *Desk) listSites(ctx context.Context, _ None, emit Emit) error {
	sites, err := d.Directory.PasskeySites(ctx)
	if err != nil {
		return err
	}
	for _, host := range slices.Sorted(maps.Keys(sites)) {
		if err := emit(PasskeySite{host, sites[host]}, nil); err != nil {
			return err
		}
	}
	return nil
}
