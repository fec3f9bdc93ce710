package backup

import (
	"fmt"
	"hash/crc32"
	"io"

	"gatepost/internal/blob"
	"gatepost/internal/envelope"
)

// piece is how much of a file is given up at once where it cannot be read, in
// octets: what disks lose.
const piece = 4096

// mended reads a file to its end whatever the disk says: zeros stand for what
// cannot be read. It sums what it gives.
type mended struct {
	file  blob.File
	off   int64
	sum   uint32 // CRC32C
	fault error  // the first
}

func (m *mended) Read(p []byte) (int, error) {
	left := m.file.Size() - m.off
	if left <= 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), left)]
	n, err := m.file.ReadAt(p, m.off)
	if n == 0 && len(p) > 0 {
		// Up to the end of the piece, since the next may be good.
		n = int(min(int64(len(p)), piece-m.off%piece))
		clear(p[:n])
		if m.fault == nil {
			m.fault = fmt.Errorf("it cannot be read at %d: %w", m.off, err)
		}
	}
	m.off += int64(n)
	m.sum = crc32.Update(m.sum, envelope.SumTable, p[:n])
	return n, nil
}
