package account

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"gatepost/internal/account/record"
	"gatepost/internal/clock"
	"gatepost/internal/store"
)

const (
	// writeDelay is how long a write that nobody waits for is kept back, so
	// that many become one commit. A crash loses what the last writeDelay
	// and the commit under way held; a clean stop loses nothing.
	writeDelay = time.Second
	// usedGrain is how exact the last use of a credential is, in seconds: it
	// is not worth a write at each sign-in.
	usedGrain = 3600
)

// Used notes that c signed its account in.
func (d desk) Used(c *record.Credential) {
	if c.ID == 0 || c.Kind == record.Token { // a passkey and a token, of which more is kept elsewhere
		return
	}
	now := d.o.Clock.Now().Unix()
	was := c.Used.Load()
	if now < was+usedGrain || !c.Used.CompareAndSwap(was, now) {
		return
	}
	d.later.write(pending{"credential", c.ID}, func(tx *store.Tx) error { return record.SetUsed(tx, c.ID, now) })
}

// later keeps writes that nobody waits for: how much was sent, when a
// credential was last used. A newer write of the same row replaces the older.
type later struct {
	db    *store.DB
	clock clock.Clock
	log   *slog.Logger

	writing sync.Mutex // held while they are being written

	mu      sync.Mutex
	timer   clock.Timer
	pending map[pending]func(*store.Tx) error
}

// pending names the row that a write is for.
type pending struct {
	table string
	id    int64
}

func (l *later) write(p pending, f func(*store.Tx) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		l.timer = l.clock.AfterFunc(writeDelay, l.flush)
	}
	l.pending[p] = f
}

// flush writes what is pending. What fails is not tried again: the next
// write of the row carries everything that this one did.
func (l *later) flush() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	list := l.pending
	l.pending = map[pending]func(*store.Tx) error{}
	l.mu.Unlock()
	if len(list) == 0 {
		return
	}
	err := l.db.Update(context.Background(), func(tx *store.Tx) error {
		for _, f := range list {
			if err := f(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.log.Error("sending counts and last uses could not be written", "err", err)
	}
}

// close writes what is pending and waits for what is being written.
func (l *later) close() {
	l.mu.Lock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	l.flush()
}
