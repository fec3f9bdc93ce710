// Package settings turns the configuration into what the parts take. It opens
// nothing but the files that the configuration names. It belongs to daemon.
package settings

import (
	"crypto/rand"
	"log/slog"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/daemon/datadir"
	"gatepost/internal/envelope"
	"gatepost/internal/keys"
	"gatepost/internal/passwords"
	"gatepost/internal/spool"
)

// Door is one of the doors of SMTP.
type Door struct {
	Key       string // in [listen]
	Door      envelope.Door
	Implicit  bool // TLS from the first octet
	Addresses func(*config.Listen) []string
}

// Doors are all of them.
var Doors = []Door{
	{"mx", envelope.MX, false, func(l *config.Listen) []string { return l.MX }},
	{"submission", envelope.Submission, false, func(l *config.Listen) []string { return l.Submission }},
	{"submissions", envelope.Submission, true, func(l *config.Listen) []string { return l.Submissions }},
}

// Keys returns how the secrets below the data directory are opened.
func Keys(cfg *config.Config, c clock.Clock, log *slog.Logger) keys.Options {
	return keys.Options{
		Clock: c, Random: rand.Reader, Log: log,
		Certificate: cfg.Path(cfg.TLS.Certificate), Key: cfg.Path(cfg.TLS.Key),
		SelfSigned: cfg.TLS.Certificate == "",
		Names:      []string{cfg.Hostname},
	}
}

// Spool returns those of the spool's options that a configuration gives.
func Spool(cfg *config.Config) spool.Options {
	l := cfg.Limits
	return spool.Options{
		Dir:         datadir.Spool(cfg.DataDir()),
		SegmentSize: int64(l.SegmentSize), Inline: int(l.InlineBody),
		DraftBudget: int64(l.DraftMemory), FreshBudget: int64(l.FreshMemory),
	}
}

// Passwords returns what a configuration asks of passwords.
func Passwords(cfg *config.Config) *passwords.Policy {
	p := cfg.Password
	policy := &passwords.Policy{
		MinLength: p.MinLength, Strength: p.Strength, History: p.History, MaxAge: time.Duration(p.MaxAge),
		File: datadir.Breached(cfg.DataDir()),
	}
	for _, c := range p.Require {
		policy.Require = append(policy.Require, passwords.Class(c))
	}
	return policy
}
