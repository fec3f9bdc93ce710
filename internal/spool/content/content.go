// Package content reads the bodies of the spool's messages, from their record
// or their blob, and never hands out one that is not what was committed.
package content

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// ErrDamaged is the cause when a body is not what was committed.
var ErrDamaged = errors.New("the body does not match its checksum")

// Inline reads a body from its record, which is at off in g.
func Inline(g *segment.Segment, off int64, c wire.Content) (*envelope.Body, error) {
	b := make([]byte, c.Size)
	if err := g.ReadBody(b, off); err != nil {
		return nil, err
	}
	if wire.Checksum(b) != c.Sum {
		return nil, ErrDamaged
	}
	return envelope.MemoryBody(b), nil
}

// Blob opens a body in its file, and reads it through once if it is to be
// checked.
func Blob(blobs blob.Store, name string, c wire.Content, check bool) (*envelope.Body, error) {
	f, err := blobs.Open(name)
	if err != nil {
		return nil, err
	}
	if f.Size() != c.Size {
		err = fmt.Errorf("%w: it has %d octets of %d", ErrDamaged, f.Size(), c.Size)
	} else if check {
		err = verify(f, c)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	body := envelope.FileBody(f, 0, c.Size, f.Close)
	body.Blob, body.Sum = name, c.Sum
	return body, nil
}

func verify(f io.ReaderAt, c wire.Content) error {
	h := crc32.New(wire.Castagnoli)
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, c.Size)); err != nil {
		return err
	}
	if h.Sum32() != c.Sum {
		return ErrDamaged
	}
	return nil
}
