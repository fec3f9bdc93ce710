package mailbox

import (
	"bytes"
	"context"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"time"

	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/lines"
	"gatepost/internal/mailbox/alike"
	"gatepost/internal/mailbox/title"
	"gatepost/internal/store"
)

// MaxImported bounds a message of an import, in octets of the store.
const MaxImported = 512 << 20

// Errors of an import.
var (
	ErrImporting = errors.New("another import into this mailbox is running")
	ErrEmpty     = errors.New("it is empty")
	ErrTooLarge  = errors.New("it is too large")
	ErrKeyword   = errors.New("it has a keyword that IMAP could not show")
)

// Incoming is a message to be imported.
type Incoming struct {
	Folder   string // made when it is missing
	Flags    Flags
	Keywords []string
	Date     time.Time // when it arrived; zero: when it was written, else now
	CRLF     bool      // where it comes from, lines end in CR LF anyway
	Content  io.Reader
}

// Import brings mail into one mailbox. It is used by one goroutine.
//
// # Nothing twice
//
// A message is known by a hash of its folder and its content, without the
// fields that mail programs keep flags in and without its line ends. The
// table imported counts how many such messages were filed, and how many the
// present import has met: the second of two that are alike is filed too, and
// neither when the same is imported again. Row and message are one
// transaction.
type Import struct {
	b              *Boxes
	account, quota int64
	again          bool
	run            int64

	canon   *lines.Canon
	buf     []byte
	waiting map[same]bool // taken and not filed yet
}

// same is the hash that tells messages apart.
type same [alike.Size]byte

// Import begins an import into the mailbox of an account, of at most quota
// octets (0: any number). With again, also what was imported before is filed.
// Close must be called.
func (b *Boxes) Import(ctx context.Context, account, quota int64, again bool) (*Import, error) {
	b.mu.Lock()
	busy := b.importing[account]
	b.importing[account] = true
	b.mu.Unlock()
	if busy {
		return nil, ErrImporting
	}
	i := &Import{b: b, account: account, quota: quota, again: again, canon: lines.NewCanon(nil),
		buf: make([]byte, inlineBound+1), waiting: map[same]bool{}}
	err := b.db.Update(ctx, func(tx *store.Tx) (err error) {
		i.run, err = tx.NextID("import")
		return err
	})
	if err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// Close ends the import.
func (i *Import) Close() {
	i.b.mu.Lock()
	delete(i.b.importing, i.account)
	i.b.mu.Unlock()
}

// Taken is a message that was read and not filed yet.
type Taken struct {
	f       Filing
	m       Message
	same    same
	content content
	known   bool // filed before
	absent  bool // likewise, so its content was not kept
	// Noted says what could not be kept of the message, if anything.
	Noted error
}

// Held returns the octets of memory that it holds.
func (t *Taken) Held() int { return len(t.content.inline) }

// Take reads a message. Its content is where it will stay; Drop or File must
// follow. Errors are those of this package, of the reader or of the disk.
func (i *Import) Take(ctx context.Context, in Incoming) (*Taken, error) {
	folder, err := folderName(in.Folder)
	if err != nil {
		return nil, err
	}
	if !title.Keywords(in.Keywords) {
		return nil, ErrKeyword
	}
	i.canon.Reset(in.Content)
	n, err := io.ReadFull(i.canon, i.buf)
	short := err == io.EOF || err == io.ErrUnexpectedEOF
	switch {
	case n == 0 && short:
		return nil, ErrEmpty
	case err != nil && !short:
		return nil, err
	}
	head := i.buf[:n]
	t := &Taken{f: Filing{Account: i.account, Quota: i.quota, Folder: folder, Flags: in.Flags, Keywords: in.Keywords, Date: in.Date}}
	sum := alike.New(folder, head)
	size := int64(n)
	if short {
		inline := bytes.Clone(head)
		t.content = content{inline: inline, sum: crc32.Checksum(inline, envelope.SumTable)}
		t.same = same(sum.Sum(nil))
	} else if size, err = i.large(ctx, t, head, sum); err != nil {
		return nil, err
	}
	i.waiting[t.same] = true
	if t.content.ends, t.Noted = i.canon.Note(); t.Noted == nil && len(t.content.ends) == 0 && !in.CRLF {
		t.content.ends = lines.AllCRLF
	}
	return t, i.summarize(t, head, size)
}

// summarize completes what lists show.
func (i *Import) summarize(t *Taken, head []byte, size int64) (err error) {
	undated := t.f.Date.IsZero()
	if undated {
		t.f.Date = i.b.clock.Now()
	}
	t.f.Body = envelope.MemoryBody(head[:min(len(head), summaryBound)])
	if t.m, err = summarize(t.f); err != nil {
		return err
	}
	if undated {
		t.f.Date = t.m.Date
	}
	t.f.Body, t.m.Size = nil, size
	return nil
}

// large brings a body that is too large for its row into a file, unless it
// was filed before.
func (i *Import) large(ctx context.Context, t *Taken, head []byte, sum hash.Hash) (size int64, err error) {
	w, err := i.b.blobs.Create()
	if err != nil {
		return 0, err
	}
	defer w.Discard()
	crc := crc32.New(envelope.SumTable)
	if _, err := io.MultiWriter(w, crc).Write(head); err != nil {
		return 0, err
	}
	rest, err := io.Copy(io.MultiWriter(w, crc, sum), io.LimitReader(i.canon, MaxImported+1))
	if err != nil {
		return 0, err
	}
	if size = int64(len(head)) + rest; size > MaxImported {
		return 0, ErrTooLarge
	}
	t.same = same(sum.Sum(nil))
	if t.absent, err = i.known(ctx, t.same); err != nil || t.absent {
		return size, err
	}
	return size, i.keep(w, t, crc.Sum32())
}

// keep makes a file durable under a name of its own.
func (i *Import) keep(w blob.Writer, t *Taken, crc uint32) (err error) {
	if t.content, err = i.b.name(); err != nil {
		return err
	}
	t.content.sum = crc
	if err = w.Commit(t.content.blob); err != nil {
		i.b.placed(t.content)
	}
	return err
}

// known reports whether filing will find that the message was filed before.
func (i *Import) known(ctx context.Context, key same) (known bool, err error) {
	if i.again || i.waiting[key] {
		return false, nil
	}
	err = i.b.db.View(ctx, func(tx *store.Tx) error {
		var copies, run, met int64
		err := tx.QueryRow(`SELECT copies, run, met FROM imported WHERE account = ? AND same = ?`,
			i.account, key[:]).Scan(&copies, &run, &met)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		known = run != i.run || met < copies
		return err
	})
	return known, err
}

// Drop gives up messages that were taken and will not be filed.
func (i *Import) Drop(list []*Taken) {
	for _, t := range list {
		if t.content.blob != "" {
			_ = i.b.blobs.Remove(t.content.blob) // Sweep finds what stays
			i.b.placed(t.content)
		}
	}
	clear(i.waiting)
}

// File files messages in one transaction, and returns how many were new, and
// how many were there already. When it returns nil, they survive power loss.
// ErrQuota says that there is no room for the next one; those before it are
// filed. After any other error, none is. Either way, none is taken any more.
func (i *Import) File(ctx context.Context, list []*Taken) (filed, known int, err error) {
	defer clear(i.waiting)
	fits, err := i.file(ctx, list)
	if errors.Is(err, ErrQuota) {
		i.Drop(list[fits:])
		if list = list[:fits]; len(list) > 0 {
			if _, again := i.file(ctx, list); again != nil {
				err = again
			}
		}
	}
	if err != nil && !errors.Is(err, ErrQuota) {
		// After an error of the commit itself the rows may be there after
		// all: the files are left to Sweep.
		for _, t := range list {
			i.b.placed(t.content)
		}
		return 0, 0, err
	}
	for _, t := range list {
		if t.known {
			known++
			i.Drop([]*Taken{t})
		} else {
			filed++
			i.b.placed(t.content)
		}
	}
	return filed, known, err
}

// errAbsent cannot happen while one import runs at a time.
var errAbsent = errors.New("a message that was filed before is not any more; import again")

// file is the transaction of File. With an error, fits is how many messages
// came before the one that it is about.
func (i *Import) file(ctx context.Context, list []*Taken) (fits int, err error) {
	err = i.b.db.Update(ctx, func(tx *store.Tx) error {
		fits = 0
		for _, t := range list {
			fresh, err := i.meet(tx, t)
			if err != nil {
				return err
			}
			if fresh && t.absent {
				return errAbsent
			}
			if fresh {
				if err := i.b.add(tx, &t.f, &t.m, t.content); err != nil {
					return err
				}
			}
			t.known = !fresh
			fits++
		}
		return nil
	})
	return fits, err
}

// meet counts a message, and reports whether it is to be filed.
func (i *Import) meet(tx *store.Tx, t *Taken) (fresh bool, err error) {
	var copies, met int64
	err = tx.QueryRow(`UPDATE imported SET met = CASE WHEN run = ? THEN met + 1 ELSE 1 END, run = ?
		WHERE account = ? AND same = ? RETURNING copies, met`, i.run, i.run, i.account, t.same[:]).Scan(&copies, &met)
	switch {
	case errors.Is(err, store.ErrNotFound):
		_, err = tx.Exec(`INSERT INTO imported (account, same, copies, run, met) VALUES (?, ?, 1, ?, 1)`,
			i.account, t.same[:], i.run)
		return true, err
	case err != nil || met <= copies && !i.again:
		return false, err
	}
	_, err = tx.Exec(`UPDATE imported SET copies = copies + 1 WHERE account = ? AND same = ?`, i.account, t.same[:])
	return true, err
}
