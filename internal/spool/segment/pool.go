package segment

import (
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gatepost/internal/blob"
	"gatepost/internal/spool/wire"
)

// Names of files in the directory: the generation and what it is.
const (
	suffixUsed = ".seg"
	suffixFree = ".free" // may be written over
	suffixNew  = ".new"  // not yet written out
	// suffixDamaged is what somebody may want to look at; it is not read.
	suffixDamaged = ".damaged"
)

// Pool makes, keeps and frees segments. FS, Dir, Size and Random are set
// before it is used.
type Pool struct {
	FS     blob.FS
	Dir    string
	Size   int64 // of new segments, in octets
	Random io.Reader

	mu    sync.Mutex // held while a segment is made
	gen   uint64     // the highest that was ever used
	ready *Segment   // empty, to be used next
	free  []*Segment
	aside int // damaged segments that were set aside
}

// Open lists the directory, which it makes when it is missing, and opens the
// segments that are in use, by generation. What it has seen is durable then:
// a process that died may have freed a segment and not synced its new name,
// and what explained that segment is not needed any more. It fails when a newer version of Gatepost has been here.
func (p *Pool) Open() ([]*Segment, error) {
	if err := p.FS.Mkdir(p.Dir); err != nil {
		return nil, err
	}
	if err := p.FS.SyncDir(filepath.Dir(p.Dir)); err != nil {
		return nil, err
	}
	if err := p.FS.SyncDir(p.Dir); err != nil {
		return nil, err
	}
	names, err := p.FS.List(p.Dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var used []*Segment
	for _, name := range names {
		g, err := p.open(name)
		if err != nil {
			return used, err
		}
		if g != nil {
			used = append(used, g)
		}
	}
	return used, nil
}

// open opens one file; it returns nil for one that is not in use.
func (p *Pool) open(name string) (*Segment, error) {
	gen, suffix, ok := parseName(name)
	if !ok {
		return nil, nil // not ours
	}
	// What is not used any more tells too which generations there were: none
	// is ever used twice.
	p.gen = max(p.gen, gen)
	g := &Segment{Gen: gen, Path: filepath.Join(p.Dir, name)}
	switch suffix {
	case suffixNew:
		return nil, p.FS.Remove(g.Path)
	case suffixDamaged:
		p.aside++
		return nil, nil
	case suffixUsed, suffixFree:
	default:
		return nil, nil
	}
	var err error
	if g.file, err = p.FS.Open(g.Path); err != nil {
		return nil, err
	}
	if g.Size, err = g.file.Size(); err == nil && suffix == suffixUsed {
		err = g.checkVersion()
	}
	if err != nil {
		_ = g.file.Close()
		return nil, err
	}
	g.Written = g.Size
	if suffix == suffixFree {
		p.Put(g)
		return nil, nil
	}
	return g, nil
}

// checkVersion refuses what a newer version of Gatepost has written: to take
// it for damage would lose it. What cannot be read is judged later.
func (g *Segment) checkVersion() error {
	b := make([]byte, wire.Block)
	if readFull(g.file, b, 0) != nil {
		return nil
	}
	if version, ok := wire.Version(b); ok && wire.Newer(version) {
		return fmt.Errorf("%s was written by a newer version of Gatepost (format %c): use that version; the log was left as it is",
			g.Path, version)
	}
	return nil
}

// Aside returns how many damaged segments are set aside.
func (p *Pool) Aside() int { return p.aside }

// path returns the path of a generation's file.
func (p *Pool) path(gen uint64, suffix string) string {
	return filepath.Join(p.Dir, fmt.Sprintf("%016x%s", gen, suffix))
}

// parseName reads the last element of what path returned.
func parseName(name string) (gen uint64, suffix string, ok bool) {
	digits, suffix, found := strings.Cut(name, ".")
	if !found || len(digits) != 16 {
		return 0, "", false
	}
	gen, err := strconv.ParseUint(digits, 16, 64)
	return gen, "." + suffix, err == nil
}

// Take returns an empty segment, which is durably there under its name.
func (p *Pool) Take() (*Segment, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.ready; g != nil {
		p.ready = nil
		return g, nil
	}
	return p.begin()
}

// Refill makes the segment for the next Take, so that nobody waits for it.
func (p *Pool) Refill() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready == nil {
		p.ready, err = p.begin()
	}
	return err
}

// begin opens the next generation, in a free segment if there is one. The
// content comes before the name, so that a name never leads to less.
func (p *Pool) begin() (*Segment, error) {
	p.gen++
	g := &Segment{Gen: p.gen, Size: p.Size, used: wire.Block, Written: wire.Block}
	var err error
	if g.Tag, err = randomTag(p.Random); err != nil {
		return nil, err
	}
	if n := len(p.free); n > 0 {
		g.file, g.Path = p.free[n-1].file, p.free[n-1].Path
		p.free = p.free[:n-1]
	} else if err := p.create(g); err != nil {
		return nil, err
	}
	if err := p.enter(g); err != nil {
		p.discard(g)
		return nil, err
	}
	return g, nil
}

// step is how much of a new segment the disk gets at a time: a batch that is
// to be synced meanwhile waits for one step, not for the whole segment.
const step = 256 << 10

// create makes the file of g and writes it out, so that appending later never
// has to allocate: a full disk shows here, and a sync of a batch has no more
// to do than the batch.
func (p *Pool) create(g *Segment) (err error) {
	g.Path = p.path(g.Gen, suffixNew)
	if g.file, err = p.FS.Create(g.Path); err != nil {
		return err
	}
	for off := int64(0); off < g.Size; off += step {
		n := min(step, g.Size-off)
		_, err := g.file.WriteAt(zeros[:n], off)
		if err == nil {
			err = g.file.Push(off, n)
		}
		if err != nil {
			p.discard(g)
			return err
		}
	}
	return nil
}

// enter gives the file of g its header and its name.
func (p *Pool) enter(g *Segment) error {
	head := wire.SegmentHead{Gen: g.Gen, Tag: g.Tag, Size: g.Size}.Encode()
	if _, err := g.file.WriteAt(head, 0); err != nil {
		return err
	}
	if err := g.file.Sync(); err != nil {
		return err
	}
	return p.rename(g, suffixUsed)
}

func (p *Pool) rename(g *Segment, suffix string) error {
	path := p.path(g.Gen, suffix)
	if err := p.FS.Rename(g.Path, path); err != nil {
		return err
	}
	g.Path = path
	return p.FS.SyncDir(p.Dir)
}

// Retire ends the life of a segment. When it returns nil no crash brings back
// what was in it. After an error lost says whether nobody knows under which
// name the segment will be found: it must then not be touched before the next
// start.
func (p *Pool) Retire(g *Segment) (lost bool, err error) {
	before, suffix := g.Path, suffixFree
	if g.Damaged {
		suffix = suffixDamaged
	}
	err = p.rename(g, suffix)
	return err != nil && g.Path != before, err
}

// Put keeps a segment that is retired or was never used for another life, if
// it is fit for one.
func (p *Pool) Put(g *Segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case g.Damaged:
		_ = g.file.Close()
	case g.Bad || g.Size != p.Size:
		p.discard(g)
	default:
		// A new value: readers of its last life may still look at the old.
		p.free = append(p.free, &Segment{Gen: g.Gen, Path: g.Path, Size: g.Size, file: g.file})
	}
}

// discard removes a segment that holds nothing. Its name may be back after a
// crash, and still hold nothing.
func (p *Pool) discard(g *Segment) {
	_ = g.file.Close()
	_ = p.FS.Remove(g.Path)
}

// Trim removes free segments until no more than a number of octets is kept
// for later, but for the one that is ready. It returns what is kept.
func (p *Pool) Trim(most int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var held int64
	if p.ready != nil {
		held = p.ready.Size
	}
	held += int64(len(p.free)) * p.Size
	for n := len(p.free); n > 0 && held > most; n-- {
		p.discard(p.free[n-1])
		p.free = p.free[:n-1]
		held -= p.Size
	}
	return held
}

// Close closes the segments that are not in use.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready != nil {
		p.free = append(p.free, p.ready)
	}
	for _, g := range p.free {
		_ = g.file.Close()
	}
	p.ready, p.free = nil, nil
}

func randomTag(random io.Reader) (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(random, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}
