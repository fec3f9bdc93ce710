package local

import (
	"context"
	"errors"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/addr"
)

// Bounds of what is remembered for HasRoom.
const (
	roomAge = 10 * time.Second // how old an answer may be
	maxRoom = 10_000           // accounts
)

// usage is what an account used a moment ago.
type usage struct {
	octets int64
	at     time.Time
}

// HasRoom reports whether a message of size octets would have fitted into
// the mailbox of a local address a few seconds ago. It spares the sender of
// a message for a full mailbox the sending; File decides.
func (l *Local) HasRoom(ctx context.Context, to addr.Address, size int64) (bool, error) {
	acct, err := l.o.Directory.Find(ctx, to)
	if errors.Is(err, account.ErrUnknown) || errors.Is(err, account.ErrReports) {
		return true, nil // there is no mailbox to be full, or delivery will say what is wrong
	}
	if err != nil || acct.Quota == 0 {
		return err == nil, err
	}
	used, err := l.used(ctx, acct.ID)
	return err == nil && size < acct.Quota-used, err
}

// used returns what an account uses, from memory if it was asked lately.
func (l *Local) used(ctx context.Context, id int64) (int64, error) {
	now := l.o.Clock.Now()
	l.mu.Lock()
	u, ok := l.usage[id]
	l.mu.Unlock()
	if ok && now.Sub(u.at) < roomAge {
		return u.octets, nil
	}
	octets, err := l.o.Boxes.Used(ctx, id)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.usage) >= maxRoom {
		clear(l.usage)
	}
	l.usage[id] = usage{octets, now}
	return octets, nil
}
