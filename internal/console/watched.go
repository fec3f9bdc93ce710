package console

import (
	"gatepost/internal/activity"
	"gatepost/internal/console/session"
	"gatepost/internal/store"
)

// Watched is the log of activity for the directory: what is noted there ends
// the sessions that it has to end, in the same transaction. So no change can
// forget to.
type Watched struct{ *activity.Book }

// Note writes an event down.
func (w Watched) Note(tx *store.Tx, e *activity.Event) error {
	if err := session.Hear(tx, e); err != nil {
		return err
	}
	return w.Book.Note(tx, e)
}
