package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"
)

// Writer writes members and keeps account of them.
type Writer struct {
	ctx  context.Context
	tar  *tar.Writer
	made time.Time

	lines   bytes.Buffer // of the members since the last sums
	pending int
	parts   int // sums that were written
	all     hash.Hash
	members int64
	octets  int64
}

// NewWriter begins an archive of a moment. When ctx ends, so does the writing.
func NewWriter(ctx context.Context, w io.Writer, made time.Time) *Writer {
	return &Writer{ctx: ctx, tar: tar.NewWriter(w), made: made, all: sha256.New()}
}

// Head writes what the archive begins with.
func (a *Writer) Head(h *Head) error {
	text, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	return a.AddBytes(head, append(text, '\n'))
}

// Add writes a member of size octets.
func (a *Writer) Add(name string, size int64, content io.Reader) error {
	return a.Fill(name, size, func(w io.Writer) (int64, error) { return io.Copy(w, content) })
}

// Fill writes a member of size octets, which f writes.
func (a *Writer) Fill(name string, size int64, f func(io.Writer) (int64, error)) error {
	h := sha256.New()
	err := a.raw(name, size, func(w io.Writer) (int64, error) { return f(io.MultiWriter(w, h)) })
	if err != nil {
		return err
	}
	a.members++
	a.octets += size
	fmt.Fprint(&a.lines, line(h, size, name))
	if a.pending++; a.pending == every {
		return a.account()
	}
	return nil
}

// line is what the sums say of a member.
func line(h hash.Hash, size int64, name string) string {
	return fmt.Sprintf("%x %d %s\n", h.Sum(nil), size, name)
}

// AddBytes writes a small member.
func (a *Writer) AddBytes(name string, content []byte) error {
	return a.Add(name, int64(len(content)), bytes.NewReader(content))
}

// raw writes a member of which nobody keeps account.
func (a *Writer) raw(name string, size int64, f func(io.Writer) (int64, error)) error {
	err := a.tar.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.made.Truncate(time.Second),
	})
	if err != nil {
		return err
	}
	n, err := f(writing(func(p []byte) (int, error) {
		if err := a.ctx.Err(); err != nil {
			return 0, err
		}
		return a.tar.Write(p)
	}))
	if err == nil && n != size {
		err = fmt.Errorf("%s has %d octets and was to have %d", name, n, size)
	}
	return err
}

// writing is a function that writes.
type writing func(p []byte) (int, error)

func (w writing) Write(p []byte) (int, error) { return w(p) }

// account writes the sums of the members since the last one.
func (a *Writer) account() error {
	if a.pending == 0 {
		return nil
	}
	name := sumsName(a.parts)
	a.parts++
	a.all.Write(a.lines.Bytes())
	err := a.raw(name, int64(a.lines.Len()), a.lines.WriteTo)
	a.pending = 0
	return err
}

func sumsName(part int) string { return fmt.Sprintf("%s%08d", sums, part) }

// Finish writes the manifest, whose counts of members it fills in, and ends
// the archive.
func (a *Writer) Finish(m *Manifest) error {
	if err := a.account(); err != nil {
		return err
	}
	m.Members, m.Octets, m.Sums = a.members, a.octets, hex.EncodeToString(a.all.Sum(nil))
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	text = fmt.Appendf(text, "\n%x\n", sum)
	if err := a.raw(manifest, int64(len(text)), bytes.NewReader(text).WriteTo); err != nil {
		return err
	}
	return a.tar.Close()
}
