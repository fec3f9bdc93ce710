package mailbox

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"strings"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

// inlineBound is the largest body that is kept in its row, in octets.
const inlineBound = 64 << 10

// blobPrefix begins the names of our files in the blob store.
const blobPrefix = "m-"

// Filing is a message to be put into a folder.
type Filing struct {
	Account int64  // whose mailbox
	Quota   int64  // octets that the mailbox may hold; 0: any number
	Folder  string // made when it is missing

	// ID and Recipient name what is filed only once.
	ID        envelope.ID
	Recipient string

	Header   []byte // fields to put in front of the body, each ending in CR LF
	Body     *envelope.Body
	Flags    Flags
	Keywords []string  // flags of the user's own, each an atom
	Date     time.Time // when it arrived: IMAP's internal date
}

// File puts a message into a mailbox and returns it as lists show it. When
// it returns nil, the message survives power loss. ErrFiled says that it was
// filed before, ErrQuota that there is no room; in both cases, as after any
// other error, nothing was added.
func (b *Boxes) File(ctx context.Context, f Filing) (Message, error) {
	name, err := folderName(f.Folder)
	if err != nil {
		return Message{}, err
	}
	f.Folder = name
	m, err := summarize(f)
	if err != nil {
		return Message{}, err
	}
	content, err := b.place(f.Body)
	if err != nil {
		return Message{}, err
	}
	defer b.placed(content)
	refused, err := b.write(ctx, &entry{Filing: f, message: &m, content: content})
	if refused != nil && content.blob != "" {
		// Undone for certain. After an error of the commit itself the row
		// may be there after all; then the file is left to Sweep.
		_ = b.blobs.Remove(content.blob)
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

// file is the transaction of File.
func (b *Boxes) file(tx *store.Tx, e *entry) error {
	f, m, c := &e.Filing, e.message, e.content
	if err := once(tx, f); err != nil {
		return err
	}
	return b.add(tx, f, m, c)
}

// add puts a message into its folder.
func (b *Boxes) add(tx *store.Tx, f *Filing, m *Message, c content) error {
	slot, err := b.claim(tx, f)
	if err != nil {
		return err
	}
	if err := charge(tx, f, m.Size); err != nil {
		return err
	}
	if m.ID, err = tx.NextID("message"); err != nil {
		return err
	}
	m.UID = slot.uid
	_, err = tx.Exec(`INSERT INTO message
		(id, folder, uid, modseq, flags, keywords, received, size, subject, sender, sent, body, spool)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		m.ID, slot.folder, slot.uid, slot.modseq, int64(f.Flags), strings.Join(f.Keywords, " "), f.Date.Unix(), m.Size,
		m.Subject, m.From, m.Date.Unix(), m.ID, f.ID[:])
	if err != nil {
		return err
	}
	header := append([]byte{}, f.Header...) // nil would be NULL
	ends := append([]byte{}, c.ends...)
	_, err = tx.Exec(`INSERT INTO body (id, refs, size, blob, header, content, header_sum, content_sum, ends) VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)`,
		m.ID, m.Size, c.blob, header, c.inline, int64(crc32.Checksum(header, envelope.SumTable)), int64(c.sum), ends)
	return err
}

// once writes down that the message is filed for the recipient.
func once(tx *store.Tx, f *Filing) error {
	fresh, err := tx.Exec(`INSERT INTO filed (spool, recipient) VALUES (?, ?)
		ON CONFLICT (spool, recipient) DO NOTHING`, f.ID[:], f.Recipient)
	if err == nil && fresh == 0 {
		err = ErrFiled
	}
	return err
}

// slot is a place in a folder.
type slot struct {
	folder, modseq int64
	uid            uint32
}

// claim takes the next UID of the folder. The folder is made, and the
// mailbox with it, when they are not there: the first message of an account
// pays for it, and all others need no look-up.
func (b *Boxes) claim(tx *store.Tx, f *Filing) (slot, error) {
	s, err := next(tx, f)
	if !errors.Is(err, store.ErrNotFound) {
		return s, err
	}
	if err := b.create(tx, f.Account); err != nil {
		return slot{}, err
	}
	s, err = next(tx, f)
	if !errors.Is(err, store.ErrNotFound) {
		return s, err
	}
	if err := b.createFolder(tx, f.Account, f.Folder, ""); err != nil {
		return slot{}, err
	}
	return next(tx, f)
}

func next(tx *store.Tx, f *Filing) (s slot, err error) {
	err = tx.QueryRow(`UPDATE folder SET uidnext = uidnext + 1, modseq = modseq + 1
		WHERE account = ? AND name = ? RETURNING id, uidnext - 1, modseq`,
		f.Account, f.Folder).Scan(&s.folder, &s.uid, &s.modseq)
	return s, err
}

// charge adds size to what the account uses, if there is room. Two messages
// that race for the last room are decided here, by the store's one writer.
func charge(tx *store.Tx, f *Filing, size int64) error {
	limit := f.Quota
	if limit == 0 {
		limit = math.MaxInt64
	}
	room, err := tx.Exec(`UPDATE mailbox SET used = used + ? WHERE account = ? AND used + ? <= ?`,
		size, f.Account, size, limit)
	if err == nil && room == 0 {
		err = ErrQuota
	}
	return err
}

// content is where a body is: in its row, or in a file of the blob store.
type content struct {
	inline []byte
	blob   string
	sum    uint32 // CRC32C
	ends   []byte // how its lines ended before it was imported
}

// place brings the body to where its row will find it. A file is durable
// when place returns, so that no row ever names one that is not there; until
// placed is called, Sweep leaves it alone.
func (b *Boxes) place(body *envelope.Body) (content, error) {
	if body.Size() <= inlineBound {
		inline, err := inlineContent(body)
		return content{inline: inline, sum: crc32.Checksum(inline, envelope.SumTable)}, err
	}
	c, err := b.name()
	if err != nil {
		return content{}, err
	}
	if body.Blob != "" {
		// The sum is that of what was received: damage that the file has
		// taken since is not made good by filing it.
		c.sum, err = body.Sum, b.blobs.Link(body.Blob, c.blob)
	} else {
		c.sum, err = b.copyBlob(c.blob, body)
	}
	if err != nil {
		b.placed(c)
	}
	return c, err
}

// name gives a body a file of its own, which Sweep leaves alone until placed
// is called. It is not the message's id: each recipient's body comes and goes
// alone.
func (b *Boxes) name() (content, error) {
	id, err := envelope.NewID(b.clock.Now(), b.random)
	if err != nil {
		return content{}, err
	}
	c := content{inline: []byte{}, blob: blobPrefix + id.String()}
	b.mu.Lock()
	b.placing[c.blob] = true
	b.mu.Unlock()
	return c, nil
}

func inlineContent(body *envelope.Body) ([]byte, error) {
	if mem := body.Bytes(); mem != nil {
		return mem, nil
	}
	inline := make([]byte, body.Size())
	_, err := io.ReadFull(body.Reader(), inline)
	return inline, err
}

func (b *Boxes) copyBlob(name string, body *envelope.Body) (sum uint32, err error) {
	w, err := b.blobs.Create()
	if err != nil {
		return 0, err
	}
	defer w.Discard()
	h := crc32.New(envelope.SumTable)
	if _, err := io.Copy(io.MultiWriter(w, h), body.Reader()); err != nil {
		return 0, err
	}
	return h.Sum32(), w.Commit(name)
}

// placed lets Sweep judge the file by its row.
func (b *Boxes) placed(c content) {
	b.mu.Lock()
	delete(b.placing, c.blob)
	b.mu.Unlock()
}
