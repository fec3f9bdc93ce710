package envelope

import (
	"bytes"
	"hash/crc32"
	"io"
)

// SumTable is the polynomial of all checksums of bodies, Castagnoli's, which
// processors compute.
var SumTable = crc32.MakeTable(crc32.Castagnoli)

// Body is the content of a message as it was received, canonical (every line
// ends in CR LF, the last one too) and without our Header. A body is read by
// any number of goroutines until it is closed.
type Body struct {
	mem  []byte
	file io.ReaderAt
	off  int64
	size int64

	// Blob names the file of the blob store that holds exactly this body;
	// empty when it is held otherwise. Who keeps it links it, and need not
	// copy it. Sum is its CRC32C when it was received.
	Blob  string
	Sum   uint32
	close func() error
}

// MemoryBody returns a body that is held in memory.
func MemoryBody(content []byte) *Body {
	return &Body{mem: content, size: int64(len(content))}
}

// FileBody returns a body of size octets that begins at off in file. close,
// which may be nil, is called once by Close.
func FileBody(file io.ReaderAt, off, size int64, close func() error) *Body {
	return &Body{file: file, off: off, size: size, close: close}
}

// Size returns the number of octets.
func (b *Body) Size() int64 { return b.size }

// Bytes returns the whole content if it is in memory, else nil. It must not
// be changed.
func (b *Body) Bytes() []byte { return b.mem }

// Reader returns the content from its beginning.
func (b *Body) Reader() io.Reader {
	if b.file == nil {
		return bytes.NewReader(b.mem)
	}
	return io.NewSectionReader(b.file, b.off, b.size)
}

// Close gives back what the body holds open.
func (b *Body) Close() error {
	if b.close == nil {
		return nil
	}
	f := b.close
	b.close = nil
	return f()
}
