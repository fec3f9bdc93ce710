package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// errDamaged is the cause when a body is not what was committed.
var errDamaged = errors.New("the body does not match its checksum")

// Body opens the content of a message. The caller closes it. What comes from
// the disk after the first attempt is checked as a whole before anything of
// it is handed out, so that a damaged message is never delivered: damage is
// 554, what may pass (a file that is missing, a read that fails) 451, and
// both are logged. A message that is not there is 550.
func (s *Spool) Body(id envelope.ID) (*envelope.Body, error) {
	s.mu.Lock()
	e := s.l.Find(id)
	if e == nil {
		s.mu.Unlock()
		return nil, envelope.Refuse(550, "5.3.0", "there is no such message")
	}
	if b := e.FreshBody(); b != nil {
		s.mu.Unlock()
		return envelope.MemoryBody(b), nil
	}
	young, c, off, g := e.Young, e.Body, e.Off, e.At
	g.Pins++
	s.mu.Unlock()
	defer s.unpin(g)

	var body *envelope.Body
	var err error
	if c.Blob {
		body, err = openBlob(s.o.Blobs, id.String(), c, !young)
	} else {
		body, err = readInline(g, off, c)
	}
	if err != nil {
		return nil, s.damaged(id, err)
	}
	return body, nil
}

// unpin says that a segment is not being read any more.
func (s *Spool) unpin(g *segment.Segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.Pins--; g.Pins == 0 {
		s.unpinned.Broadcast()
	}
}

// readInline reads a body from its record.
func readInline(g *segment.Segment, off int64, c wire.Content) (*envelope.Body, error) {
	b := make([]byte, c.Size)
	if err := g.ReadBody(b, off); err != nil {
		return nil, err
	}
	if wire.Checksum(b) != c.Sum {
		return nil, errDamaged
	}
	return envelope.MemoryBody(b), nil
}

// openBlob opens a body in its file, and reads it through once if it is to
// be checked.
func openBlob(blobs blob.Store, name string, c wire.Content, check bool) (*envelope.Body, error) {
	f, err := blobs.Open(name)
	if err != nil {
		return nil, err
	}
	if f.Size() != c.Size {
		err = fmt.Errorf("%w: it has %d octets of %d", errDamaged, f.Size(), c.Size)
	} else if check {
		err = verify(f, c)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	body := envelope.FileBody(f, 0, c.Size, f.Close)
	body.Blob = name
	return body, nil
}

func verify(f io.ReaderAt, c wire.Content) error {
	h := crc32.New(wire.Castagnoli)
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, c.Size)); err != nil {
		return err
	}
	if h.Sum32() != c.Sum {
		return errDamaged
	}
	return nil
}

// damaged reports a body that cannot be had.
func (s *Spool) damaged(id envelope.ID, cause error) error {
	s.Counters.Damaged.Add(1)
	switch {
	case errors.Is(cause, errDamaged):
		s.o.Log.Error("a message was damaged on our disk and cannot be delivered", "id", id, "err", cause)
		return envelope.Fail(cause, 554, "5.3.0", "the message was damaged while it was stored here")
	case errors.Is(cause, fs.ErrNotExist):
		s.o.Log.Error("the file with the content of a message is missing", "id", id, "err", cause)
	default:
		s.o.Log.Error("the content of a message cannot be read", "id", id, "err", cause)
	}
	return envelope.Fail(cause, 451, "4.3.0", "the message cannot be read from storage now")
}
