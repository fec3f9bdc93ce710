package mailbox

import (
	"context"

	"gatepost/internal/store"
)

// maxTogether bounds the messages that are filed in one closure, and with it
// what is done again if one of them is refused.
const maxTogether = 64

// entry is a message whose rows are to be written.
type entry struct {
	Filing
	message *Message
	content content
}

// group is filings that wait for the store's writer together: a savepoint for
// each would cost it as much as their rows.
type group struct {
	list    []*entry
	done    chan struct{} // closed when the rest is valid
	refused bool          // one of them was, so that for certain none is written
	err     error         // else, what became of them
}

// write writes the rows of a message: with those that come while the writer
// has other work, or alone if any of these is refused. refused is why nothing
// was written, for certain.
func (b *Boxes) write(ctx context.Context, e *entry) (refused, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if g := b.together(e); !g.refused {
		return nil, g.err
	}
	err = b.db.Update(ctx, func(tx *store.Tx) error {
		refused = b.file(tx, e)
		return refused
	})
	return refused, err
}

// together writes a message with others and returns the group when that is
// done. The first of a group waits for the writer, on behalf of all.
func (b *Boxes) together(e *entry) *group {
	b.mu.Lock()
	g := b.open
	first := g == nil || len(g.list) >= maxTogether
	if first {
		g = &group{done: make(chan struct{})}
		b.open = g
	}
	g.list = append(g.list, e)
	b.mu.Unlock()
	if first {
		b.writeGroup(g)
	}
	<-g.done
	return g
}

// writeGroup writes a group. It ends with the first that is refused, which
// undoes them all. Its wait for the writer has no end but the store's: the
// context of one must not end it for the others.
func (b *Boxes) writeGroup(g *group) {
	defer close(g.done)
	g.err = b.db.Update(context.Background(), func(tx *store.Tx) error {
		for _, e := range b.shut(g) {
			if err := b.file(tx, e); err != nil {
				g.refused = true
				return err
			}
		}
		return nil
	})
	b.shut(g) // if its turn never came
}

// shut lets nobody join a group any more, and returns who has.
func (b *Boxes) shut(g *group) []*entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == g {
		b.open = nil
	}
	return g.list
}
