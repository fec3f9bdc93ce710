// Package programs joins what programs for mail were allowed (grant) with the
// rest: with account, which asks whose a token is, and with the operator's
// commands. It belongs to daemon.
package programs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/control"
	"gatepost/internal/grant"
	"gatepost/internal/oauth"
)

// Programs answers. All fields are required.
type Programs struct {
	Grants *grant.Book
	Issuer string
	// Account returns an account.
	Account func(context.Context, addr.Address) (account.Account, error)
}

// Token tells account what a token is good for.
func (p *Programs) Token(ctx context.Context, token string) (account.Token, bool, error) {
	t, ok, err := p.Grants.Token(ctx, token)
	return account.Token{
		Account: t.Owner.ID, Login: t.Owner.Address.String(), Credential: t.Grant, Name: t.Name,
		Send: t.Scope.Send, Read: t.Scope.Read, Expires: t.Expires,
	}, ok, err
}

// Holds reports whether a grant has not ended.
func (p *Programs) Holds(ctx context.Context, id int64) (bool, error) { return p.Grants.Holds(ctx, id) }

// Metadata is where a program finds out how to get a token.
func (p *Programs) Metadata() string { return p.Issuer + oauth.MetadataPath }

// ClientAdd are the arguments of oauth.client.add.
type ClientAdd struct {
	Name      string   `json:"name"`
	ID        string   `json:"id"` // empty: one is made
	Redirects []string `json:"redirects"`
}

// ClientInfo is what an operator sees of a program that may ask for tokens.
type ClientInfo struct {
	ID        string     `json:"id"`
	Name      string     `json:"name"`
	Redirects []string   `json:"redirects"`
	BuiltIn   bool       `json:"built_in"` // it comes with Gatepost
	Created   *time.Time `json:"created,omitempty"`
}

// GrantRevoke are the arguments of grant.revoke.
type GrantRevoke struct {
	Address string `json:"address"`
	ID      int64  `json:"id"`
}

// GrantInfo is what an operator sees of what somebody allowed a program.
type GrantInfo struct {
	ID      int64     `json:"id"`
	Program string    `json:"program"`
	Client  string    `json:"client"`
	Scope   string    `json:"scope"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"` // when it last got a token
	Ends    time.Time `json:"ends"` // unless it gets one before
}

// Handle carries out the verbs about programs, and hands others on to next.
func (p *Programs) Handle(next control.Handler) control.Handler {
	verbs := map[string]control.Handler{
		"oauth.client.add": with(p.addClient), "oauth.client.list": with(p.listClients), "oauth.client.remove": with(p.removeClient),
		"grant.list": with(p.list), "grant.revoke": with(p.revoke),
	}
	return func(ctx context.Context, verb string, args json.RawMessage, emit control.Emit) error {
		if h, ours := verbs[verb]; ours {
			return h(ctx, verb, args, emit)
		}
		return next(ctx, verb, args, emit)
	}
}

// with reads the arguments of a verb, strictly.
func with[A any](f func(context.Context, A, control.Emit) error) control.Handler {
	return func(ctx context.Context, _ string, raw json.RawMessage, emit control.Emit) error {
		var a A
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&a); err != nil {
			return fmt.Errorf("the running server does not understand this command; it may be of another version: %w", err)
		}
		return f(ctx, a, emit)
	}
}

func (p *Programs) addClient(ctx context.Context, a ClientAdd, emit control.Emit) error {
	c, err := p.Grants.AddClient(ctx, grant.Client{ID: a.ID, Name: a.Name, Redirects: a.Redirects})
	if err != nil {
		return err
	}
	return emit(info(c), nil)
}

func (p *Programs) listClients(ctx context.Context, _ control.None, emit control.Emit) error {
	list, err := p.Grants.Clients(ctx)
	for _, c := range list {
		if err := emit(info(c), nil); err != nil {
			return err
		}
	}
	return err
}

func info(c grant.Client) ClientInfo {
	i := ClientInfo{ID: c.ID, Name: c.Name, Redirects: append([]string{}, c.Redirects...), BuiltIn: c.BuiltIn}
	if !c.BuiltIn {
		i.Created = &c.Created
	}
	return i
}

func (p *Programs) removeClient(ctx context.Context, a control.Name, _ control.Emit) error {
	return p.Grants.RemoveClient(ctx, a.Name, byCommand)
}

// byCommand is who asks in a command: whoever the context of it tells
// (activity.By).
var byCommand = activity.Client{}

func (p *Programs) account(ctx context.Context, s string) (account.Account, error) {
	address, err := addr.Parse(strings.TrimSpace(s))
	if err != nil {
		return account.Account{}, fmt.Errorf("%q is not an address: %w", s, err)
	}
	return p.Account(ctx, address)
}

func (p *Programs) list(ctx context.Context, a control.Name, emit control.Emit) error {
	who, err := p.account(ctx, a.Name)
	if err != nil {
		return err
	}
	list, err := p.Grants.Grants(ctx, who.ID)
	for _, g := range list {
		if err := emit(GrantInfo{g.ID, g.Name, g.Client, g.Scope.String(), g.Created, g.Used, g.Ends}, nil); err != nil {
			return err
		}
	}
	return err
}

func (p *Programs) revoke(ctx context.Context, a GrantRevoke, _ control.Emit) error {
	who, err := p.account(ctx, a.Address)
	if err != nil {
		return err
	}
	err = p.Grants.End(ctx, who.ID, a.ID, byCommand)
	if errors.Is(err, grant.ErrUnknown) {
		return fmt.Errorf("%s has no grant %d", who.Address.Unicode(), a.ID)
	}
	return err
}
