// Package operate is what the commands do, through the running server of an
// installation if there is one, else directly on its data. It belongs to
// daemon.
package operate

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"

	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon"
	"gatepost/internal/daemon/datadir"
)

// Operator is a command's way to the store: through the running server if
// there is one, else directly.
type Operator struct {
	socket string // of the running server, or
	lock   *os.File
	direct *daemon.Direct
}

// Open opens the way. While it is open and there is no server, none can
// start.
func Open(ctx context.Context, cfg *config.Config) (*Operator, error) {
	if err := datadir.Prepare(cfg.DataDir()); err != nil {
		return nil, err
	}
	held, err := datadir.Lock(cfg.DataDir())
	if errors.Is(err, datadir.ErrLocked) {
		return &Operator{socket: datadir.Socket(cfg.DataDir())}, nil
	}
	if err != nil {
		return nil, err
	}
	direct, err := daemon.Open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	return &Operator{lock: held, direct: direct}, nil
}

// Running reports whether a server does the work.
func (o *Operator) Running() bool { return o.direct == nil }

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
	return o.direct.Do(ctx, verb, raw, func(item any, body io.Reader) error {
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
	return errors.Join(o.direct.Close(), o.lock.Close())
}
