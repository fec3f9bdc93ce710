// Package moving brings mailboxes in from other programs and out again: it
// finds the messages in files and Maildirs, and what those know of them.
//
// # Sources
//
// An mbox file in any dialect, a file with one message, a Maildir with its
// folders (Maildir++ or directories in directories), and a directory with
// such files, as Thunderbird keeps it (Inbox, Inbox.sbd/Work) or with .eml
// files. A pipe is copied to a temporary file first, since an mbox is read
// from the places where its messages are.
//
// # What is kept of a message
//
// All of its octets. Its folder is what an export of ours says, else what
// Gmail's labels say, else where it was found. Its flags are those in the
// name of a Maildir's file; in an mbox those of Status, X-Status, X-Keywords,
// X-Mozilla-Status, X-Mozilla-Keys and X-Gmail-Labels. The date of its
// arrival is, in this order,
//
//	of an mbox    the From_ line's (but for one of Thunderbird's, which is
//	              of when it stored the message), Received, Date, the file's
//	of a Maildir  the file's, the one in its name, Received, Date
//
// # Export
//
// To a Maildir, every message comes out as it came in. To an mbox too, but
// that its last line has an end, and that lines which look like a From_ line
// are quoted as mboxrd says; what the message itself does not tell of its
// folder and flags stands in four fields in front of it, which an import
// takes off again.
//
// # Trust and limits
//
// A source may come from anybody. No link in it is followed, nothing but
// regular files is opened, and no name in it is a path to us (os.Root).
// Folders are at most maxFolders, directories maxNested deep. Memory does not
// grow with the number of messages, nor with the size of one. What cannot be
// taken is told with its place, and nothing is left out otherwise.
package moving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatepost/internal/mbox"
)

// MaxMessage bounds a message that is imported, in octets: more than any mail
// service takes.
const MaxMessage = 256 << 20

const (
	maxFolders = 10_000
	maxNested  = 24       // directories
	maxHead    = 64 << 10 // octets of a header that are looked at
)

// Letter is one message of a source.
type Letter struct {
	Where    string // for people
	Folder   string
	Flags    []string  // system flags and keywords
	Received time.Time // zero: nothing tells
	// CRLF tells that CR LF is how lines end in the source anyway.
	CRLF    bool
	Content io.Reader // until the next message is asked for
}

// Options say how a source is read.
type Options struct {
	Folder  string // that everything goes to, or below; "" for INBOX and what the source says
	Dialect mbox.Dialect
	Max     int64 // octets of a message
	// Skipped is told of a message that is left out, and why; Noted of what
	// is no message and worth a word.
	Skipped func(where, why string)
	Noted   func(text string)
}

// Source is where messages come from.
type Source struct {
	o    Options
	file *os.File // an mbox or a message; or
	root *os.Root
	name string // for people

	total, done int64 // octets
	others      int   // files that hold no mail
	folders     map[string]bool
}

// errNoSource says what a path must lead to.
var errNoSource = errors.New("it is neither a file nor a directory nor a pipe")

// Open opens a source: a path, or "-" for what in gives.
func Open(path string, in io.Reader, o Options) (*Source, error) {
	s := &Source{o: o, name: path, folders: map[string]bool{}}
	if o.Folder != "" {
		s.o.Folder = folderName(strings.Split(o.Folder, "/"))
	}
	if path == "-" {
		s.name = "standard input"
		return s, s.spool(in)
	}
	// A FIFO is opened as one waits for its writer, unlike those inside.
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch mode := fi.Mode(); {
	case mode.IsDir():
		s.root, err = os.OpenRoot(path)
	case mode.IsRegular():
		s.file, err = os.Open(path)
		s.total = fi.Size()
	case mode&os.ModeNamedPipe != 0:
		var pipe *os.File
		if pipe, err = os.Open(path); err == nil {
			err = errors.Join(s.spool(pipe), pipe.Close())
		}
	default:
		err = fmt.Errorf("%s: %w", path, errNoSource)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// spool copies a stream to a file without a name.
func (s *Source) spool(in io.Reader) error {
	f, err := os.CreateTemp("", "gatepost-import-")
	if err != nil {
		return err
	}
	s.file = f
	err = os.Remove(f.Name())
	if err == nil {
		s.total, err = io.Copy(f, in)
	}
	if err != nil {
		f.Close()
	}
	return err
}

// Close gives back what is open.
func (s *Source) Close() error {
	if s.root != nil {
		return s.root.Close()
	}
	return s.file.Close()
}

// Progress returns how many octets were read of how many; 0 where that is
// not known.
func (s *Source) Progress() (done, total int64) { return s.done, s.total }

// Each calls f with every message, until it fails.
func (s *Source) Each(ctx context.Context, f func(*Letter) error) error {
	w := &walker{Source: s, ctx: ctx, f: f, head: make([]byte, maxHead)}
	if s.file != nil {
		return w.file(s.file, s.name, nil)
	}
	err := w.directory(s.root, s.name, nil, 0)
	if err == nil && s.others > 0 {
		s.o.Noted(fmt.Sprintf("%s: files that hold no mail (%d) are left alone", s.name, s.others))
	}
	return err
}

// walker hands on the messages of a source.
type walker struct {
	*Source
	ctx  context.Context
	f    func(*Letter) error
	head []byte // of the message that is handed on
}

// file hands on what is in a file that holds mail.
func (w *walker) file(f *os.File, where string, levels []string) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	begin := make([]byte, 128)
	n, err := f.ReadAt(begin, 0)
	if err != nil && err != io.EOF {
		return err
	}
	begin = bytes.TrimPrefix(begin[:n], []byte("\xef\xbb\xbf"))
	begin = bytes.TrimLeft(begin, "\r\n")
	size := fi.Size()
	if w.root == nil {
		size = w.total
	}
	switch {
	case len(begin) == 0:
		return nil // an empty folder
	case bytes.HasPrefix(begin, []byte("From ")):
		return w.mbox(f, size, fi.ModTime(), where, levels)
	case looksLikeMessage(begin):
		return w.single(f, size, fi.ModTime(), where, levels)
	}
	return fmt.Errorf("%s: %w", where, mbox.ErrNotMbox)
}

// looksLikeMessage reports whether text begins with a header field.
func looksLikeMessage(text []byte) bool {
	name, _, ok := bytes.Cut(text, []byte(":"))
	return ok && len(name) > 0 && !bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// mbox hands on the messages of an mbox file.
func (w *walker) mbox(f io.ReaderAt, size int64, modified time.Time, where string, levels []string) error {
	r := mbox.NewReader(f, size, w.o.Dialect)
	before := w.done
	for n := 1; ; n++ {
		m, err := r.Next()
		w.done = before + r.Offset()
		if err == io.EOF {
			return nil
		}
		place := fmt.Sprintf("%s: message %d", where, n)
		if err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
		place = fmt.Sprintf("%s at octet %d", place, m.At)
		if !w.fits(place, m.Size()) {
			continue
		}
		l, s, err := w.letter(place, levels, m.Open())
		if err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
		l.CRLF = m.CRLF
		l.Received = first(m.Date, s.received, s.sent, modified)
		if m.Sender == "-" {
			l.Received = first(s.received, s.sent, m.Date, modified)
		}
		if err := w.hand(l); err != nil {
			return err
		}
	}
}

// single hands on the one message of a file.
func (w *walker) single(f *os.File, size int64, modified time.Time, where string, levels []string) error {
	if !w.fits(where, size) {
		return nil
	}
	l, s, err := w.letter(where, levels, io.NewSectionReader(f, 0, size))
	if err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	l.CRLF, l.Received = true, first(s.received, s.sent, modified)
	err = w.hand(l)
	w.done += size
	return err
}

// fits reports whether a message can be taken, and tells if not.
func (w *walker) fits(where string, size int64) bool {
	switch {
	case size == 0:
		w.o.Skipped(where, "it is empty")
	case size > w.o.Max:
		w.o.Skipped(where, fmt.Sprintf("it has %d octets, more than the %d that are taken", size, w.o.Max))
	default:
		return true
	}
	return false
}

// letter reads what a message tells of itself.
func (w *walker) letter(where string, levels []string, content io.Reader) (*Letter, state, error) {
	n, err := io.ReadFull(content, w.head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return nil, state{}, err
	}
	head := w.head[:n]
	s := readState(headerOf(head))
	l := &Letter{Where: where, Flags: s.flags, Folder: s.folder}
	if l.Folder == "" || w.o.Folder != "" {
		l.Folder = w.place(levels)
	}
	l.Content = io.MultiReader(bytes.NewReader(head[s.top:]), content)
	return l, s, nil
}

// place returns the folder of what was found at a place.
func (w *walker) place(levels []string) string {
	if w.o.Folder == "" {
		return folderName(levels)
	}
	return folderName(append(strings.Split(w.o.Folder, "/"), levels...))
}

// errFolders says that there are too many.
var errFolders = fmt.Errorf("there are more than %d folders in it", maxFolders)

// hand hands a message on.
func (w *walker) hand(l *Letter) error {
	if !w.folders[l.Folder] {
		if len(w.folders) >= maxFolders {
			return errFolders
		}
		w.folders[l.Folder] = true
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	return w.f(l)
}

// first returns the first time that is known.
func first(times ...time.Time) time.Time {
	for _, t := range times {
		if !t.IsZero() && t.Unix() > 0 {
			return t
		}
	}
	return time.Time{}
}

// base returns the name of a folder from that of a file or directory of
// Thunderbird's or Apple's.
func base(name string) string {
	for _, ending := range []string{".sbd", ".mbox"} {
		if short := strings.TrimSuffix(name, ending); short != "" {
			name = short
		}
	}
	return name
}

// join is for people: it need not be a path.
func join(where, name string) string { return filepath.Join(where, name) }
