package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Taker is given the members of a backup, in their order. What it was given
// counts for nothing until Read returns the manifest.
type Taker interface {
	Head(*Head) error
	// Member is called for every other one but sums and manifest, with the
	// place that it has (Files, Keys, Queue, Mail, or none) and its plain name
	// there. What it leaves of the content is read all the same.
	Member(place, name string, size int64, content io.Reader) error
}

// reading is a backup that is being read.
type reading struct {
	ctx  context.Context
	tar  *tar.Reader
	to   Taker
	told func(octets int64)

	seen    map[string]bool // members that there may be but one of
	lines   []string        // of the members since the last sums
	parts   int
	all     hash.Hash
	members int64
	octets  int64
	queued  int64
	files   int64
}

// Read hands a backup on and returns its manifest, which agrees with all that
// was read. told is told of the octets of content.
func Read(ctx context.Context, r io.Reader, to Taker, told func(octets int64)) (*Manifest, error) {
	b := &reading{ctx: ctx, tar: tar.NewReader(r), to: to, told: told, seen: map[string]bool{}, all: sha256.New()}
	for {
		h, err := b.next()
		if err != nil {
			return nil, err
		}
		switch {
		case h.Name == manifest:
			return b.end(h)
		case strings.HasPrefix(h.Name, sums):
			err = b.compare(h)
		default:
			err = b.member(h)
		}
		if err != nil {
			return nil, err
		}
	}
}

// next goes to the next member, which must be a plain file with a plain name.
func (b *reading) next() (*tar.Header, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	h, err := b.tar.Next()
	switch {
	case err != nil && b.members == 0:
		return nil, Broken("this is not a backup of Gatepost, or its beginning is damaged (%w)", err)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return nil, Broken("it is cut short: its manifest is missing")
	case err != nil:
		return nil, Broken("it is damaged after %d members (%w)", b.members, err)
	}
	// A link could lead what follows out of the directory; a sparse file would
	// have a size that the archive does not have.
	if h.Typeflag != tar.TypeReg || h.Size < 0 || len(h.Name) > maxName {
		return nil, Broken("%q is not a plain file", h.Name)
	}
	for key := range h.PAXRecords {
		if key != "size" {
			return nil, Broken("%q has an attribute %q", h.Name, key)
		}
	}
	return h, nil
}

// content is a member as it is read: summed, and counted.
type content struct {
	b    *reading
	hash hash.Hash
	n    int64
}

func (c *content) Read(p []byte) (int, error) {
	if err := c.b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.b.tar.Read(p)
	c.n += int64(n)
	c.hash.Write(p[:n])
	c.b.told(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		err = Broken("it is cut short or damaged (%w)", err)
	}
	return n, err
}

// member hands one on.
func (b *reading) member(h *tar.Header) error {
	if b.members == 0 && h.Name != head {
		return Broken("this is not a backup of Gatepost: it begins with %q", h.Name)
	}
	if len(b.lines) >= every {
		return Broken("checksums are missing before %s", h.Name)
	}
	c := &content{b: b, hash: sha256.New()}
	if err := b.take(h, c); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	b.members++
	b.octets += c.n
	b.lines = append(b.lines, line(c.hash, c.n, h.Name))
	return nil
}

// take tells the members apart. Whatever has no place in a backup is refused.
func (b *reading) take(h *tar.Header, c *content) error {
	dir, name := "", h.Name
	if i := strings.LastIndexByte(h.Name, '/'); i >= 0 {
		dir, name = h.Name[:i+1], h.Name[i+1:]
	}
	single := false
	known := Plain(name)
	switch dir {
	case "":
		single = true
		known = name == head || name == Config || name == Store
	case Files, Keys:
		single = true
		known = known && len(b.seen) < 2*MaxFiles
	case Queue:
		b.queued++
	case Mail:
		b.files++
	default:
		known = false
	}
	if !known || single && b.seen[h.Name] {
		return Broken("%q has no place in a backup", h.Name)
	}
	if single {
		b.seen[h.Name] = true
	}
	if h.Name != head {
		return b.to.Member(dir, name, h.Size, c)
	}
	text, err := bounded(c, h, MaxSmall)
	if err != nil {
		return err
	}
	var it Head
	if err := json.Unmarshal(text, &it); err != nil {
		return Broken("this is not a backup of Gatepost (%w)", err)
	}
	if err := checkFormat(it.Format); err != nil {
		return err
	}
	return b.to.Head(&it)
}

// bounded reads a small member whole.
func bounded(r io.Reader, h *tar.Header, most int64) ([]byte, error) {
	if h.Size > most {
		return nil, Broken("%s is larger than it can be", h.Name)
	}
	return io.ReadAll(r)
}

// compare compares the account of the members with what was read.
func (b *reading) compare(h *tar.Header) error {
	text, err := bounded(&content{b: b, hash: sha256.New()}, h, MaxSmall)
	if err != nil {
		return err
	}
	if h.Name != sumsName(b.parts) {
		return Broken("%s is not at its place", h.Name)
	}
	want := strings.SplitAfter(string(text), "\n")
	if n := len(want); want[n-1] == "" {
		want = want[:n-1]
	}
	for i, got := range b.lines {
		if i >= len(want) || want[i] != got {
			return Broken("%s is not what was written", strings.TrimSpace(got[strings.LastIndexByte(got, ' '):]))
		}
	}
	if len(want) != len(b.lines) {
		return Broken("members are missing before %s", h.Name)
	}
	b.all.Write(text)
	b.parts++
	b.lines = b.lines[:0]
	return nil
}

// end reads the last member and compares it with all others.
func (b *reading) end(h *tar.Header) (*Manifest, error) {
	text, err := bounded(&content{b: b, hash: sha256.New()}, h, MaxSmall)
	if err != nil {
		return nil, err
	}
	var m Manifest
	body, sum, _ := bytes.Cut(bytes.TrimSuffix(text, []byte("\n")), []byte("\n}\n"))
	body = append(bytes.Clone(body), "\n}"...)
	if fmt.Sprintf("%x", sha256.Sum256(body)) != string(sum) {
		return nil, Broken("its manifest is damaged")
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, Broken("its manifest is damaged (%w)", err)
	}
	if err := checkFormat(m.Format); err != nil {
		return nil, err
	}
	if len(b.lines) > 0 || m.Sums != hex.EncodeToString(b.all.Sum(nil)) || m.Members != b.members || m.Octets != b.octets ||
		m.Queued != b.queued || m.Files != b.files {
		return nil, Broken("its manifest does not agree with what is in it")
	}
	for _, name := range []string{head, Config, Store, Keys + "secret"} {
		if !b.seen[name] {
			return nil, Broken("%s is missing", name)
		}
	}
	if _, err := b.tar.Next(); !errors.Is(err, io.EOF) {
		return nil, Broken("there is more behind its manifest")
	}
	return &m, nil
}
