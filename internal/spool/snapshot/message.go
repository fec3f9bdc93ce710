package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/wire"
)

// Message is one message with its state of the moment.
type Message struct {
	Envelope *envelope.Envelope // a copy; its header must not be changed
	Size     int64              // octets of the body when it was received
	Sum      uint32             // CRC32C of the body then

	saved *saved // nil: it was read from a backup
	blobs blob.Store
}

// Open returns the body as it is on the disk, damaged or not.
func (m *Message) Open() (blob.File, error) {
	if m.saved.body.Blob {
		return m.blobs.Open(m.Envelope.ID.String())
	}
	return inline{m.saved.at.Body(m.saved.off, m.Size)}, nil
}

// inline is a body in a segment.
type inline struct{ *io.SectionReader }

func (inline) Close() error { return nil }

// magic begins an encoded message; its last letter is the version. The first
// version is read like this one: see the package wire.
const (
	magic        = "GPspool2"
	firstVersion = '1'
)

// headSize is what precedes the meta of an encoded message: magic, length,
// CRC32C.
const headSize = len(magic) + 8

// maxMeta bounds the meta, in octets: more than fits into the largest segment.
const maxMeta = 256 << 20

// ErrFormat says that something is not an encoded message.
var ErrFormat = errors.New("not a message of a backup")

// Append encodes the message without its body, which is to follow.
func (m *Message) Append(b []byte) []byte {
	start := len(b)
	b = append(b, magic...)
	b = append(b, make([]byte, headSize-len(magic))...)
	b = wire.AppendEnvelope(b, m.Envelope, wire.Content{Size: m.Size, Sum: m.Sum, Blob: true})
	meta := b[start+headSize:]
	binary.LittleEndian.PutUint32(b[start+len(magic):], uint32(len(meta)))
	binary.LittleEndian.PutUint32(b[start+len(magic)+4:], wire.Checksum(meta))
	return b
}

// Read reads what Append has encoded; what is left of r is the body.
func Read(r io.Reader) (*Message, error) {
	head := make([]byte, headSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	length := binary.LittleEndian.Uint32(head[len(magic):])
	switch {
	case string(head[:len(magic)-1]) != magic[:len(magic)-1]:
		return nil, ErrFormat
	case head[len(magic)-1] > magic[len(magic)-1]:
		return nil, errors.New("the message was written by a newer Gatepost")
	case head[len(magic)-1] < firstVersion || length > maxMeta:
		return nil, ErrFormat
	}
	// What is announced is believed only as it comes.
	meta, err := io.ReadAll(io.LimitReader(r, int64(length)))
	if err != nil {
		return nil, err
	}
	if len(meta) < int(length) || wire.Checksum(meta) != binary.LittleEndian.Uint32(head[len(magic)+4:]) {
		return nil, fmt.Errorf("%w: it is damaged", ErrFormat)
	}
	d := wire.NewDecoder(meta, &wire.Words{})
	e, c := d.Envelope()
	if d.Failed() || d.More() || !c.Blob || e.ID.IsZero() || e.Done() {
		return nil, ErrFormat
	}
	return &Message{Envelope: e, Size: c.Size, Sum: c.Sum}, nil
}
