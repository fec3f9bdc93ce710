package control

import (
	"context"
	"time"

	"gatepost/internal/account"
)

// AccountPassword are the arguments of account.password.
type AccountPassword struct {
	Address  string `json:"address"`
	Password string `json:"password"`
}

func (d *Desk) setPassword(ctx context.Context, a AccountPassword, _ Emit) error {
	address, err := parseAddress(a.Address)
	if err != nil {
		return err
	}
	return d.Directory.SetPassword(ctx, address, a.Password)
}

// PasswordInfo is what an operator sees of a password, which is nothing of
// the password itself.
type PasswordInfo struct {
	Set      time.Time  `json:"set"`
	RunsOut  *time.Time `json:"runs_out"` // null: never
	Strength *int       `json:"strength"` // 0 to 4; null: set before there was a rating
	Weak     bool       `json:"weak"`     // it would be refused now
	Old      bool       `json:"old"`      // it ran out, or is two years old where none does
	Reused   bool       `json:"reused"`   // another account has the same
}

func passwordInfo(p account.Password) *PasswordInfo {
	info := &PasswordInfo{Set: p.Set, Weak: p.Weak, Old: p.Old, Reused: p.Reused}
	if p.Score >= 0 {
		info.Strength = &p.Score
	}
	if !p.RunsOut.IsZero() {
		info.RunsOut = &p.RunsOut
	}
	return info
}
