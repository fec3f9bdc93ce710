package local

import (
	"context"

	"gatepost/internal/envelope"
)

// Settled is told which messages' outcomes are durable. It returns at once;
// the mailbox forgets them in bulk a little later.
func (l *Local) Settled(ids []envelope.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.settled)+len(ids) > maxSettled {
		return // Prune finds them at the next start
	}
	if len(l.settled) == 0 && len(ids) > 0 {
		l.timer = l.o.Clock.AfterFunc(forgetAfter, l.forget)
	}
	l.settled = append(l.settled, ids...)
}

// Close forgets what has gathered. No Deliver may be under way.
func (l *Local) Close() {
	l.mu.Lock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	l.forget()
}

// forget takes the ids that have gathered and has the mailbox forget them.
func (l *Local) forget() {
	l.mu.Lock()
	ids := l.settled
	l.settled = nil
	l.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	if err := l.o.Boxes.Forget(context.Background(), ids); err != nil {
		l.o.Log.Warn("delivered messages are remembered until the next start", "messages", len(ids), "err", err)
	}
}
