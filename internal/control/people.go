package control

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/mtasts"
)

// DomainInfo is what an operator sees of a domain.
type DomainInfo struct {
	Domain   string    `json:"domain"`
	Unicode  string    `json:"unicode"`
	Accounts int       `json:"accounts"`
	CatchAll []string  `json:"catch_all"`
	Parked   bool      `json:"parked"` // nobody sends or gets mail in it
	Created  time.Time `json:"created"`
	// MTASTS is the mode of the policy that it publishes, and MTASTSRecord
	// the TXT record at _mta-sts that announces it.
	MTASTS       string `json:"mta_sts"`
	MTASTSRecord string `json:"mta_sts_record"`
	// MTASTSGone is, of mode none, when that record may go too.
	MTASTSGone *time.Time `json:"mta_sts_gone,omitempty"`
}

// DomainRemove are the arguments of domain.remove.
type DomainRemove struct {
	Name         string `json:"name"`
	WithAccounts bool   `json:"with_accounts"`
}

// DomainSet are the arguments of domain.set. What is nil stays; a catch-all
// without targets ends.
type DomainSet struct {
	Name     string   `json:"name"`
	CatchAll []string `json:"catch_all"`
	MTASTS   *string  `json:"mta_sts"`
	Parked   *bool    `json:"parked"`
}

func (d *Desk) addDomain(ctx context.Context, a Name, emit Emit) error {
	name, err := parseDomain(a.Name)
	if err != nil {
		return err
	}
	if err := d.Directory.AddDomain(ctx, name); err != nil {
		return err
	}
	return d.emitDomain(ctx, name, emit)
}

func (d *Desk) listDomains(ctx context.Context, _ None, emit Emit) error {
	list, err := d.Directory.Domains(ctx)
	for _, dom := range list {
		if err := d.emitDomain(ctx, dom.Name, emit); err != nil {
			return err
		}
	}
	return err
}

func (d *Desk) showDomain(ctx context.Context, a Name, emit Emit) error {
	name, err := parseDomain(a.Name)
	if err != nil {
		return err
	}
	return d.emitDomain(ctx, name, emit)
}

func (d *Desk) emitDomain(ctx context.Context, name addr.Domain, emit Emit) error {
	dom, err := d.Directory.Domain(ctx, name)
	if err != nil {
		return err
	}
	info := DomainInfo{
		Domain: string(name), Unicode: name.Unicode(), Accounts: dom.Accounts, CatchAll: []string{}, Parked: dom.Parked, Created: dom.Created,
		MTASTS: dom.STS.String(), MTASTSRecord: d.Promise(dom.STS).Record().String(),
	}
	if dom.STS == mtasts.None {
		gone := mtasts.Gone(dom.Since)
		info.MTASTSGone = &gone
	}
	if all, err := d.Directory.Alias(ctx, addr.Address{Domain: name}); err == nil {
		info.CatchAll = texts(all.Targets)
	}
	return emit(info, nil)
}

func (d *Desk) setDomain(ctx context.Context, a DomainSet, emit Emit) error {
	name, err := parseDomain(a.Name)
	if err != nil {
		return err
	}
	if _, err := d.Directory.Domain(ctx, name); err != nil {
		return err
	}
	if a.MTASTS != nil {
		mode, err := mtasts.ParseMode(*a.MTASTS)
		if err != nil {
			return fmt.Errorf("%q is not one of testing, enforce, none", *a.MTASTS)
		}
		if err := d.Directory.SetPromise(ctx, name, mode); err != nil {
			return err
		}
	}
	if a.CatchAll != nil {
		if err := d.setCatchAll(ctx, name, a.CatchAll); err != nil {
			return err
		}
	}
	if a.Parked != nil {
		if err := d.Directory.Park(ctx, name, *a.Parked); err != nil {
			return err
		}
	}
	return d.emitDomain(ctx, name, emit)
}

func (d *Desk) setCatchAll(ctx context.Context, name addr.Domain, list []string) error {
	catchAll := addr.Address{Domain: name}
	targets, err := parseAddresses(list)
	if err != nil {
		return err
	}
	_, missing := d.Directory.Alias(ctx, catchAll)
	switch {
	case len(targets) == 0 && missing == nil:
		err = d.Directory.RemoveAlias(ctx, catchAll)
	case len(targets) > 0 && missing == nil:
		err = d.Directory.SetAlias(ctx, catchAll, targets)
	case len(targets) > 0:
		err = d.Directory.AddAlias(ctx, catchAll, targets)
	}
	return err
}

func (d *Desk) removeDomain(ctx context.Context, a DomainRemove, _ Emit) error {
	name, err := parseDomain(a.Name)
	if err != nil {
		return err
	}
	if !a.WithAccounts {
		return d.Directory.RemoveDomain(ctx, name, false)
	}
	accounts, err := d.Directory.Accounts(ctx)
	if err != nil {
		return err
	}
	if err := d.Directory.RemoveDomain(ctx, name, true); err != nil {
		return err
	}
	for _, acc := range accounts {
		if acc.Address.Domain == name {
			if err := d.Boxes.Remove(ctx, acc.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// AccountInfo is what an operator sees of an account.
type AccountInfo struct {
	Address       string    `json:"address"`
	Role          string    `json:"role"`
	Frozen        bool      `json:"frozen"`
	Quota         int64     `json:"quota"` // octets; 0: no limit
	Used          int64     `json:"used"`  // octets
	SendingPerDay int       `json:"sending_per_day"`
	Recovery      string    `json:"recovery,omitempty"` // where alerts go too
	Created       time.Time `json:"created"`
	Factors       int       `json:"factors"`     // how many second factors it has
	OwesFactor    bool      `json:"owes_factor"` // its role must have one
	// Password is what may be known of it; nil: there is none.
	Password *PasswordInfo `json:"password,omitempty"`
}

// AccountAdd are the arguments of account.add.
type AccountAdd struct {
	Address  string `json:"address"`
	Password string `json:"password"`
	Role     string `json:"role"`
}

// AccountSet are the arguments of account.set; what is nil stays, and -1 is
// what the configuration says.
type AccountSet struct {
	Address       string  `json:"address"`
	Role          *string `json:"role"`
	Quota         *int64  `json:"quota"`
	SendingPerDay *int    `json:"sending_per_day"`
	Recovery      *string `json:"recovery"` // empty: none
}

func (d *Desk) addAccount(ctx context.Context, a AccountAdd, emit Emit) error {
	address, err := parseAddress(a.Address)
	if err != nil {
		return err
	}
	role, err := account.ParseRole(a.Role)
	if err != nil {
		return err
	}
	acc, err := d.Directory.AddAccount(ctx, address, a.Password, role)
	if err != nil {
		return err
	}
	return d.emitAccounts(ctx, emit, acc)
}

func (d *Desk) listAccounts(ctx context.Context, _ None, emit Emit) error {
	list, err := d.Directory.Accounts(ctx)
	if err != nil {
		return err
	}
	return d.emitAccounts(ctx, emit, list...)
}

func (d *Desk) showAccount(ctx context.Context, a Name, emit Emit) error {
	acc, err := d.account(ctx, a.Name)
	if err != nil {
		return err
	}
	return d.emitAccounts(ctx, emit, acc)
}

func (d *Desk) account(ctx context.Context, name string) (account.Account, error) {
	address, err := parseAddress(name)
	if err != nil {
		return account.Account{}, err
	}
	return d.Directory.Account(ctx, address)
}

func (d *Desk) emitAccounts(ctx context.Context, emit Emit, list ...account.Account) error {
	all, err := d.Directory.Passwords(ctx)
	if err != nil {
		return err
	}
	for _, acc := range list {
		used, err := d.Boxes.Used(ctx, acc.ID)
		if err != nil {
			return err
		}
		info := AccountInfo{
			Address: acc.Address.Unicode(), Role: string(acc.Role), Frozen: acc.Frozen, Quota: acc.Quota, Used: used,
			SendingPerDay: acc.SendLimit, Created: acc.Created,
			Factors: acc.Factors, OwesFactor: d.Directory.Owes(acc),
		}
		recovery, err := d.Directory.Recovery(ctx, acc.ID)
		if err != nil {
			return err
		}
		if !recovery.IsNull() {
			info.Recovery = recovery.Unicode()
		}
		if p, has := all[acc.ID]; has {
			info.Password = passwordInfo(p)
		}
		if err := emit(info, nil); err != nil {
			return err
		}
	}
	return nil
}

func (d *Desk) setAccount(ctx context.Context, a AccountSet, emit Emit) error {
	address, err := parseAddress(a.Address)
	if err != nil {
		return err
	}
	s := account.Settings{Quota: a.Quota, SendLimit: a.SendingPerDay}
	if a.Role != nil {
		role := account.Role(*a.Role)
		s.Role = &role
	}
	if a.Recovery != nil {
		s.Recovery = &addr.Address{}
		if *a.Recovery != "" {
			if *s.Recovery, err = parseAddress(*a.Recovery); err != nil {
				return err
			}
		}
	}
	if err := d.Directory.SetAccount(ctx, address, s); err != nil {
		return err
	}
	return d.showAccount(ctx, Name{a.Address}, emit)
}

// AccountRemove are the arguments of account.remove.
type AccountRemove struct {
	Address  string `json:"address"`
	WithMail bool   `json:"with_mail"`
}

func (d *Desk) removeAccount(ctx context.Context, a AccountRemove, _ Emit) error {
	acc, err := d.account(ctx, a.Address)
	if err != nil {
		return err
	}
	used, err := d.Boxes.Used(ctx, acc.ID)
	if err != nil {
		return err
	}
	if used > 0 && !a.WithMail {
		return fmt.Errorf("%s has mail (%d octets), which would be removed too; export it first (gatepost mailbox export), then say --with-mail", acc.Address.Unicode(), used)
	}
	if err := d.Directory.RemoveAccount(ctx, acc.Address); err != nil {
		return err
	}
	return d.Boxes.Remove(ctx, acc.ID)
}

// AliasInfo is what an operator sees of an alias.
type AliasInfo struct {
	Alias   string   `json:"alias"`
	Targets []string `json:"targets"`
	// Role says that it is postmaster or abuse as every domain has it: what
	// arrives goes to an administrator.
	Role bool `json:"role"`
}

// AliasSet are the arguments of alias.add and alias.set.
type AliasSet struct {
	Alias   string   `json:"alias"`
	Targets []string `json:"targets"`
}

func (d *Desk) addAlias(ctx context.Context, a AliasSet, emit Emit) error {
	return d.writeAlias(ctx, a, emit, d.Directory.AddAlias)
}

func (d *Desk) setAlias(ctx context.Context, a AliasSet, emit Emit) error {
	return d.writeAlias(ctx, a, emit, d.Directory.SetAlias)
}

func (d *Desk) writeAlias(ctx context.Context, a AliasSet, emit Emit, write func(context.Context, addr.Address, []addr.Address) error) error {
	alias, err := account.ParseAlias(a.Alias)
	if err != nil {
		return err
	}
	targets, err := parseAddresses(a.Targets)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return fmt.Errorf("an alias needs at least one target")
	}
	if err := write(ctx, alias, targets); err != nil {
		return err
	}
	return d.showAlias(ctx, Name{a.Alias}, emit)
}

func (d *Desk) listAliases(ctx context.Context, _ None, emit Emit) error {
	list, err := d.Directory.Aliases(ctx)
	for _, a := range list {
		if err := emitAlias(a, emit); err != nil {
			return err
		}
	}
	return err
}

func (d *Desk) showAlias(ctx context.Context, a Name, emit Emit) error {
	alias, err := account.ParseAlias(a.Name)
	if err != nil {
		return err
	}
	found, err := d.Directory.Alias(ctx, alias)
	if err != nil {
		return err
	}
	return emitAlias(found, emit)
}

func emitAlias(a account.Alias, emit Emit) error {
	return emit(AliasInfo{account.AliasName(a.Address), texts(a.Targets), a.Role}, nil)
}

func (d *Desk) removeAlias(ctx context.Context, a Name, _ Emit) error {
	alias, err := account.ParseAlias(a.Name)
	if err != nil {
		return err
	}
	return d.Directory.RemoveAlias(ctx, alias)
}

func parseAddresses(list []string) ([]addr.Address, error) {
	out := make([]addr.Address, 0, len(list))
	for _, s := range list {
		a, err := parseAddress(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// texts returns addresses as people read them; never nil, so that JSON has a
// list.
func texts(list []addr.Address) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, a.Unicode())
	}
	return out
}

// DomainOf returns what an item of domain.list tells of a domain.
func DomainOf(it Item) (info DomainInfo, err error) {
	err = json.Unmarshal(it.JSON, &info)
	return info, err
}
