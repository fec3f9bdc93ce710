package daemon

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"

	"gatepost/internal/addr"
	"gatepost/internal/config"
	"gatepost/internal/control"
)

// Direct is the parts without doors: what a command works with that finds no
// server running.
type Direct struct{ parts *parts }

// Open opens the parts of a data directory, whose lock the caller holds.
// Warnings go to stderr.
func Open(ctx context.Context, cfg *config.Config) (*Direct, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := open(ctx, cfg, log, addr.Address{})
	if err != nil {
		return nil, err
	}
	return &Direct{p}, nil
}

// Do carries out a verb.
func (d *Direct) Do(ctx context.Context, verb string, args json.RawMessage, emit control.Emit) error {
	return d.parts.handle()(control.By(ctx, os.Getuid()), verb, args, emit)
}

// Close closes the parts.
func (d *Direct) Close() error { return d.parts.close() }
