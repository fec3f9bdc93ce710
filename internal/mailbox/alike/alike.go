// Package alike tells whether two messages are the same: by a hash of folder
// and content, without the fields that mail programs rewrite in files of
// theirs. It belongs to mailbox.
package alike

import (
	"crypto/sha256"
	"hash"
	"io"

	"gatepost/internal/message"
)

// Size is the length of the hash, in octets.
const Size = 16

// New begins the hash of a message that begins with head.
func New(folder string, head []byte) hash.Hash {
	h := truncated{sha256.New()}
	io.WriteString(h, folder+"\x00")
	seen := 0
	for f := range message.Fields(head) {
		seen += len(f.Raw)
		if !isState(f) {
			h.Write(f.Raw)
		}
	}
	h.Write(head[seen:])
	return h
}

// truncated is a hash of 128 bits: nobody gains from two messages of theirs
// that look alike to us.
type truncated struct{ hash.Hash }

func (t truncated) Sum(b []byte) []byte { return append(b, t.Hash.Sum(nil)[:Size]...) }

// stateFields are rewritten by mail programs in files of theirs.
var stateFields = []string{"Status", "X-Status", "X-Keywords", "X-UID", "X-IMAP", "X-IMAPbase", "Content-Length",
	"X-Mozilla-Status", "X-Mozilla-Status2", "X-Mozilla-Keys", "X-Gmail-Labels"}

func isState(f message.Field) bool {
	for _, name := range stateFields {
		if f.Is(name) {
			return true
		}
	}
	return false
}
