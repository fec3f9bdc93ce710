package account

import (
	"context"

	"gatepost/internal/activity"
	"gatepost/internal/store"
)

// Recall reads where people signed in before, so that after a start too they
// are known there, and nobody who guesses elsewhere slows them. It is called
// before the doors are opened.
func (d *Directory) Recall(ctx context.Context) error {
	return d.db.View(ctx, func(tx *store.Tx) error {
		return activity.Usual(tx, d.signin.Recall)
	})
}
