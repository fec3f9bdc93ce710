// Package intake files what an operator's command brings in from a mailbox
// elsewhere: many messages in one transaction, with a word on each that is
// not taken.
//
// # Place in the path
//
// The desk of control opens an import of package mailbox and hands on what
// the command gives; the command found the messages (package moving).
//
// # Interruptions
//
// What was told as filed survives power loss. A command that is run again
// after it was interrupted, or whose server was, files what is missing.
//
// # Limits
//
// A batch is at most maxBatch messages and maxHeld octets of memory, so that
// the store's one writer is not held up and memory does not grow with what is
// imported.
package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"gatepost/internal/mailbox"
)

// Bounds of a batch.
const (
	maxBatch = 200
	maxHeld  = 4 << 20 // octets of bodies in memory, before the last
)

// Letter is a message that the command gives; its content follows it.
type Letter struct {
	Where    string    `json:"where"` // that people find it again
	Folder   string    `json:"folder"`
	Flags    []string  `json:"flags"` // keywords too
	Received time.Time `json:"received"`
	CRLF     bool      `json:"crlf"` // in the source, lines end so anyway
}

// Filed is what is told after each batch: how many messages were filed, how
// many were there already, and what was not taken.
type Filed struct {
	Filed int    `json:"filed"`
	Known int    `json:"known"`
	Left  []Left `json:"left,omitempty"`
}

// Left is a message that was not taken, or not as it is.
type Left struct {
	Where string `json:"where"`
	Why   string `json:"why"`
	Taken bool   `json:"taken"` // but something of it could not be kept
}

// Box is the import of package mailbox.
type Box interface {
	// Take reads a message. Its content is on its way to the disk.
	Take(ctx context.Context, in mailbox.Incoming) (*mailbox.Taken, error)
	// File makes durable what was taken.
	File(ctx context.Context, list []*mailbox.Taken) (filed, known int, err error)
	// Drop gives it up.
	Drop(list []*mailbox.Taken)
}

// intake is one import.
type intake struct {
	box   Box
	tell  func(Filed) error
	batch []*mailbox.Taken
	held  int
	left  []Left
}

// Run files everything that next gives, and tells of it in batches. next
// returns io.EOF at the end.
func Run(ctx context.Context, box Box, next func() (json.RawMessage, io.Reader, error), tell func(Filed) error) error {
	in := &intake{box: box, tell: tell}
	defer func() { box.Drop(in.batch) }()
	for {
		raw, body, err := next()
		if err == io.EOF {
			return in.flush(ctx)
		}
		if err == nil {
			err = in.take(ctx, raw, body)
		}
		if err != nil {
			// What came before is whole.
			_ = in.flush(context.WithoutCancel(ctx))
			return err
		}
		if len(in.batch)+len(in.left) >= maxBatch || in.held >= maxHeld {
			if err := in.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// take reads one message.
func (in *intake) take(ctx context.Context, raw json.RawMessage, body io.Reader) error {
	var l Letter
	if err := json.Unmarshal(raw, &l); err != nil {
		return fmt.Errorf("the command and the running server are of different versions: %w", err)
	}
	flags, keywords := mailbox.ParseFlags(l.Flags)
	t, err := in.box.Take(ctx, mailbox.Incoming{
		Folder: l.Folder, Flags: flags, Keywords: keywords, Date: l.Received, CRLF: l.CRLF, Content: body,
	})
	switch {
	case errors.Is(err, mailbox.ErrName), errors.Is(err, mailbox.ErrEmpty), errors.Is(err, mailbox.ErrTooLarge), errors.Is(err, mailbox.ErrKeyword):
		in.left = append(in.left, Left{Where: l.Where, Why: err.Error()})
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", l.Where, err)
	}
	if t.Noted != nil {
		in.left = append(in.left, Left{l.Where, t.Noted.Error(), true})
	}
	in.batch, in.held = append(in.batch, t), in.held+t.Held()
	return nil
}

// flush files the batch.
func (in *intake) flush(ctx context.Context) error {
	if len(in.batch)+len(in.left) == 0 {
		return nil
	}
	f := Filed{Left: in.left}
	var err error
	f.Filed, f.Known, err = in.box.File(ctx, in.batch)
	clear(in.batch)
	in.batch, in.held, in.left = in.batch[:0], 0, nil
	return errors.Join(in.tell(f), err)
}
