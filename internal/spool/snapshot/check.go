package snapshot

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"gatepost/internal/audit"
	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/recovery"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// check is what findings about the spool are called.
const check = "spool"

// What is to be done about damage.
const (
	fixDisk = "The disk loses data: look at its health, make a backup, and move to another one. What can still be read is kept, and the file is set aside once nothing in it is needed."
	fixMail = "Put it back from a backup if there is one that has it. As it is, it is returned to its sender when it is tried next; gatepost queue drop removes it without a word."
)

// Work is the octets that Check reads.
func (s *Snapshot) Work() int64 {
	n := s.Octets()
	for _, v := range s.segments {
		n += v.Segment.Size
	}
	return n
}

// Check reads every record and every body, and tells what is wrong. done is
// told of the octets that were read, blobs the names of the blobs that belong
// to a message. It changes nothing.
func (s *Snapshot) Check(ctx context.Context, done func(int64), owned func(name string), found func(audit.Finding)) error {
	fail := func(fix, format string, args ...any) {
		found(audit.Finding{Check: check, Level: audit.Failure, Text: fmt.Sprintf(format, args...), Fix: fix})
	}
	if s.Blind {
		fail("Start Gatepost again once the disk can be read; until then nothing in the spool is freed.",
			"A part of the spool could not be read at the start, and there may be messages in it.")
	}
	whole := s.expected()
	findings, err := recovery.Examine(s.segments, s.durable,
		func(g *segment.Segment, f wire.Found) { delete(whole, place{g, f.Off}) },
		func(n int64) error {
			done(n)
			return ctx.Err()
		})
	if err != nil {
		return err
	}
	for _, text := range findings {
		fail(fixDisk, "%s.", text)
	}
	return s.Each(func(m *Message) error {
		if _, missing := whole[place{m.saved.at, m.saved.off}]; missing {
			fail(fixMail, "%s is damaged on the disk.", name(m.Envelope))
		}
		if m.saved.body.Blob {
			owned(m.Envelope.ID.String())
			if fault := checkBlob(s.blobs, m); fault != "" {
				fail(fixMail, "The content of %s %s.", name(m.Envelope), fault)
			}
		}
		done(m.Size)
		return ctx.Err()
	})
}

// place is where a record is.
type place struct {
	g   *segment.Segment
	off int64
}

// expected returns the records of all messages.
func (s *Snapshot) expected() map[place]struct{} {
	m := make(map[place]struct{}, len(s.messages))
	for i := range s.messages {
		m[place{s.messages[i].at, s.messages[i].off}] = struct{}{}
	}
	return m
}

// name says which message it is, in words.
func name(e *envelope.Envelope) string {
	from := e.From.String()
	if e.From.IsNull() {
		from = "nobody"
	}
	return fmt.Sprintf("message %v from %s", e.ID, from)
}

// checkBlob returns what is wrong with the content of a message in a file.
func checkBlob(blobs blob.Store, m *Message) string {
	f, err := blobs.Open(m.Envelope.ID.String())
	if errors.Is(err, fs.ErrNotExist) {
		return "is missing"
	}
	if err != nil {
		return fmt.Sprintf("cannot be opened (%v)", err)
	}
	defer f.Close()
	if f.Size() != m.Size {
		return fmt.Sprintf("has %d octets instead of %d", f.Size(), m.Size)
	}
	h := crc32.New(wire.Castagnoli)
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, m.Size)); err != nil {
		return fmt.Sprintf("cannot be read (%v)", err)
	}
	if h.Sum32() != m.Sum {
		return "does not match its checksum"
	}
	return ""
}
