package account

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatepost/internal/account/record"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

// sent counts the recipients of the current day. Memory decides; the store
// is read once a day for each account that sends, and follows (see later).
type sent struct {
	mu       sync.Mutex
	day      int64
	accounts map[int64]int64
}

// Spend counts recipients against the account's limit of the day, which
// begins at 00:00 UTC, or refuses them with an *envelope.Error and counts
// nothing. A crash forgets what the last writeDelay and one commit held.
func (d *Directory) Spend(ctx context.Context, account string, recipients int) error {
	a, err := addr.Parse(account)
	if err != nil {
		return fmt.Errorf("account %q: %w", account, err)
	}
	p, err := d.find(ctx, a)
	switch {
	case errors.Is(err, ErrUnknown): // removed while it was signed in
		return envelope.Refuse(550, "5.7.1", "this account does not exist any more")
	case err != nil:
		return err
	case p.Frozen: // while it was signed in
		return envelope.Refuse(550, "5.7.1", "this account is frozen, and sends nothing until whoever runs the server releases it")
	case p.SendLimit == 0:
		return nil
	}
	day := d.o.Clock.Now().Unix() / int64(24*time.Hour/time.Second)
	before, err := d.sentBefore(ctx, day, p.ID)
	if err != nil {
		return err
	}
	total, ok := d.sent.add(day, p.ID, before, int64(recipients), int64(p.SendLimit))
	if !ok {
		return envelope.Refuse(452, "4.7.1", fmt.Sprintf("this account may send to %d recipients a day; the next day begins at 00:00 UTC", p.SendLimit))
	}
	d.later.write(pending{"sent", p.ID}, func(tx *store.Tx) error { return record.WriteSent(tx, p.ID, day, total) })
	return nil
}

// sentBefore returns what the store says the account has sent on the day, if
// memory does not know it yet.
func (d *Directory) sentBefore(ctx context.Context, day, account int64) (n int64, err error) {
	if d.sent.knows(day, account) {
		return 0, nil
	}
	err = d.view(ctx, func(tx *store.Tx) error {
		n, err = record.ReadSent(tx, account, day)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return n, err
}

func (s *sent) knows(day, account int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.accounts[account]
	return ok && s.day == day
}

// add counts n more, starting from before if it knows nothing of the account
// yet, and returns the total.
func (s *sent) add(day, account, before, n, limit int64) (total int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.day != day || s.accounts == nil {
		s.day, s.accounts = day, map[int64]int64{}
	}
	total, known := s.accounts[account]
	if !known {
		total = before
	}
	if ok = total+n <= limit; ok {
		total += n
	}
	s.accounts[account] = total
	return total, ok
}
