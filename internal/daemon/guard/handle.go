package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/control"
	"gatepost/internal/store"
)

// Handle carries out the verbs of the guard, and hands others on to next,
// after it has noted those that copy mail out.
func (g *Guard) Handle(next control.Handler) control.Handler {
	return func(ctx context.Context, verb string, args json.RawMessage, emit control.Emit) error {
		switch verb {
		case "activity":
			return g.list(ctx, args, emit)
		case "mailbox.export":
			if err := g.noteExport(ctx, args); err != nil {
				return err
			}
		case "backup":
			if err := g.note(ctx, &activity.Event{Kind: activity.Backup}); err != nil {
				return err
			}
		}
		return next(ctx, verb, args, emit)
	}
}

func (g *Guard) list(ctx context.Context, raw json.RawMessage, emit control.Emit) error {
	var a Asked
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&a); err != nil {
		return fmt.Errorf("the running server does not understand this command; it may be of another version: %w", err)
	}
	f := activity.Filter{Since: a.Since, Kind: activity.Kind(a.Kind), Failed: a.Failed}
	if a.Kind != "" && !slices.Contains(activity.Kinds(), f.Kind) {
		return fmt.Errorf("there is no kind %q; the kinds are %s", a.Kind, KindNames())
	}
	if a.Account != "" {
		address, err := addr.Parse(strings.TrimSpace(a.Account))
		if err != nil {
			return fmt.Errorf("%q is not an address: %w", a.Account, err)
		}
		f.Account = address.Fold().Unicode() // which may be gone, and what it did is not
	}
	return g.Book.List(ctx, f, func(e *activity.Event) error { return emit(e.View(), nil) })
}

// KindNames lists the kinds for people.
func KindNames() string {
	var names []string
	for _, k := range activity.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// noteExport notes that the mail of an account leaves, before it does. What
// cannot be exported is said by whoever exports.
func (g *Guard) noteExport(ctx context.Context, raw json.RawMessage) error {
	var a control.Name
	if json.Unmarshal(raw, &a) != nil {
		return nil
	}
	address, err := addr.Parse(strings.TrimSpace(a.Name))
	if err != nil {
		return nil
	}
	who, err := g.Account(ctx, address)
	if err != nil {
		return nil
	}
	return g.note(ctx, &activity.Event{Kind: activity.Export, Owner: who.ID, Account: who.Address.Unicode()})
}

// note writes an event of a command.
func (g *Guard) note(ctx context.Context, e *activity.Event) error {
	return g.o.Store.Update(ctx, func(tx *store.Tx) error { return g.Book.Note(tx, e) })
}
