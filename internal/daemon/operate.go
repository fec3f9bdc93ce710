package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"

	"gatepost/internal/addr"
	"gatepost/internal/config"
	"gatepost/internal/control"
)

// Operator is a command's way to the store: through the running server if
// there is one, else directly.
type Operator struct {
	socket string // of the running server, or
	lock   *os.File
	parts  *parts
}

// Operate opens the way. While it is open and there is no server, none can
// start.
func Operate(ctx context.Context, cfg *config.Config) (*Operator, error) {
	if err := prepare(cfg.DataDir()); err != nil {
		return nil, err
	}
	held, err := lock(cfg.DataDir())
	if errors.Is(err, errLocked) {
		return &Operator{socket: socketPath(cfg)}, nil
	}
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := open(ctx, cfg, log, addr.Address{})
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return &Operator{lock: held, parts: p}, nil
}

// Running reports whether a server does the work.
func (o *Operator) Running() bool { return o.parts == nil }

// Do carries out a verb and hands each item of the answer to each.
func (o *Operator) Do(ctx context.Context, verb string, args any, each func(control.Item) error) error {
	return o.Send(ctx, verb, args, nil, each)
}

// Send is Do for a verb that is given more than its arguments.
func (o *Operator) Send(ctx context.Context, verb string, args any, feed control.Feed, each func(control.Item) error) (err error) {
	if o.Running() {
		return control.Send(ctx, o.socket, verb, args, feed, each)
	}
	if feed != nil {
		given, stop := control.Hand(feed)
		defer func() {
			if failed := stop(); failed != nil {
				err = failed
			}
		}()
		ctx = control.WithGiven(ctx, given)
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	return o.parts.handle()(ctx, verb, raw, func(item any, body io.Reader) error {
		b, err := json.Marshal(item)
		if err != nil {
			return err
		}
		if body == nil {
			body = eof{}
		}
		return each(control.Item{JSON: b, Body: body})
	})
}

// eof is the body of an item that has none.
type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// Close ends it.
func (o *Operator) Close() error {
	if o.Running() {
		return nil
	}
	return errors.Join(o.parts.close(), o.lock.Close())
}
