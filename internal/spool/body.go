package spool

import (
	"errors"
	"io/fs"

	"gatepost/internal/envelope"
	"gatepost/internal/spool/content"
	"gatepost/internal/spool/segment"
)

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
		body, err = content.Blob(s.o.Blobs, id.String(), c, !young)
	} else {
		body, err = content.Inline(g, off, c)
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

// damaged reports a body that cannot be had.
func (s *Spool) damaged(id envelope.ID, cause error) error {
	s.Counters.Damaged.Add(1)
	switch {
	case errors.Is(cause, content.ErrDamaged):
		s.o.Log.Error("a message was damaged on our disk and cannot be delivered", "id", id, "err", cause)
		return envelope.Fail(cause, 554, "5.3.0", "the message was damaged while it was stored here")
	case errors.Is(cause, fs.ErrNotExist):
		s.o.Log.Error("the file with the content of a message is missing", "id", id, "err", cause)
	default:
		s.o.Log.Error("the content of a message cannot be read", "id", id, "err", cause)
	}
	return envelope.Fail(cause, 451, "4.3.0", "the message cannot be read from storage now")
}
