package moving

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gatepost/internal/lines"
	"gatepost/internal/maildir"
	"gatepost/internal/mbox"
)

// Kept is a message of a mailbox, to be copied out.
type Kept struct {
	Folder   string
	UID      uint32
	Received time.Time
	Flags    []string // system flags and keywords
	Ends     []byte   // the note of package lines
	Content  io.Reader
}

// Export is where messages are copied to.
type Export interface {
	Add(k *Kept) error
	// Close makes what was added durable. Without all of it, whole is false.
	Close(whole bool) error
}

// NewExport begins one: a Maildir in a directory that exists or whose name
// ends in "/", else an mbox, which must not exist.
func NewExport(path string, now time.Time) (Export, error) {
	fi, err := os.Stat(path)
	if strings.HasSuffix(path, "/") || err == nil && fi.IsDir() {
		return newMaildir(path, now)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s exists already; name another file", path)
	}
	if err != nil {
		return nil, err
	}
	return &mboxFile{f: f, w: mbox.NewWriter(f), r: bufio.NewReaderSize(nil, maxHead)}, nil
}

// mboxFile is an export to one mbox.
type mboxFile struct {
	f *os.File
	w *mbox.Writer
	r *bufio.Reader
}

// lfEnds are the line ends of a message that says nothing of them: those of
// an mbox.
func lfEnds(ends []byte) []byte {
	if len(ends) == 0 {
		return lines.AllLF
	}
	return ends
}

func (x *mboxFile) Add(k *Kept) error {
	content, err := lines.Restore(k.Content, lfEnds(k.Ends))
	if err != nil {
		return err
	}
	x.r.Reset(content)
	head, err := x.r.Peek(maxHead)
	if err != nil && err != io.EOF {
		return err
	}
	above := top(headerOf(head), k.Folder, k.Flags)
	return x.w.Add(k.Received, io.MultiReader(bytes.NewReader(above), x.r))
}

func (x *mboxFile) Close(whole bool) error {
	err := errors.Join(x.w.Flush(), x.f.Sync(), x.f.Close())
	if whole && err == nil {
		return syncDir(filepath.Dir(x.f.Name()))
	}
	os.Remove(x.f.Name()) // half a mailbox must not pass for one
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// maildirTree is an export to a Maildir++: the inbox at the top, each other
// folder in a directory that begins with a dot. It stays below its root
// whatever links stand there, and replaces nothing.
type maildirTree struct {
	root    *os.Root
	run     int64 // sets the names of this export apart
	count   int
	folders map[string]*folderOut
}

// folderOut is a folder that is being written.
type folderOut struct {
	dir      string
	keywords []string
	changed  bool // keywords are not on the disk yet
}

func newMaildir(path string, now time.Time) (Export, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &maildirTree{root: root, run: now.UnixNano(), folders: map[string]*folderOut{}}, nil
}

func (x *maildirTree) Add(k *Kept) error {
	f, err := x.folder(k.Folder)
	if err != nil {
		return err
	}
	for _, flag := range k.Flags {
		if !strings.HasPrefix(flag, `\`) && !maildir.HasLetter(flag) && !slices.Contains(f.keywords, flag) && len(f.keywords) < maildir.MaxKeywords {
			f.keywords, f.changed = append(f.keywords, flag), true
		}
	}
	content, err := lines.Restore(k.Content, k.Ends)
	if err != nil {
		return err
	}
	x.count++
	unique := fmt.Sprintf("%d.R%dU%dN%d.gatepost", k.Received.Unix(), x.run, k.UID, x.count)
	tmp := filepath.Join(f.dir, "tmp", unique)
	if err := x.write(tmp, content, k.Received); err != nil {
		return err
	}
	final := filepath.Join(f.dir, "cur", maildir.FileName(unique, k.Flags, f.keywords))
	return x.root.Rename(tmp, final) // no other message has its name
}

// folder makes the directories of a folder.
func (x *maildirTree) folder(name string) (*folderOut, error) {
	if f := x.folders[name]; f != nil {
		return f, nil
	}
	f := &folderOut{dir: "."}
	if name != inbox {
		f.dir = maildir.EncodeFolder(name)
	}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := x.root.MkdirAll(filepath.Join(f.dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	if name != inbox {
		// What tells other programs that this is a folder of the one above.
		mark, err := x.root.OpenFile(filepath.Join(f.dir, "maildirfolder"), os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := mark.Close(); err != nil {
			return nil, err
		}
	}
	text, err := x.root.ReadFile(filepath.Join(f.dir, maildir.KeywordsFile))
	if err == nil { // of an export before
		for _, k := range maildir.ParseKeywords(string(text)) {
			if k == "" {
				break
			}
			f.keywords = append(f.keywords, k)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	x.folders[name] = f
	return f, nil
}

// write writes a new file.
func (x *maildirTree) write(path string, content io.Reader, received time.Time) error {
	f, err := x.root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		when := unix.NsecToTimeval(received.UnixNano())
		err = unix.Futimes(int(f.Fd()), []unix.Timeval{when, when})
	}
	if err = errors.Join(err, f.Close()); err != nil {
		x.root.Remove(path)
	}
	return err
}

// Close writes what the letters of keywords mean, and waits once until
// everything is on the disk.
func (x *maildirTree) Close(bool) error {
	var errs []error
	for _, f := range x.folders {
		if f.changed {
			errs = append(errs, x.root.WriteFile(filepath.Join(f.dir, maildir.KeywordsFile), []byte(maildir.FormatKeywords(f.keywords)), 0o600))
		}
	}
	d, err := x.root.Open(".")
	if err == nil {
		err = errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
	}
	return errors.Join(append(errs, err, x.root.Close())...)
}
