package moving

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"gatepost/internal/maildir"
	"gatepost/internal/mbox"
)

// directory hands on what is in a directory: a Maildir, or one with files and
// folders.
func (w *walker) directory(dir *os.Root, where string, levels []string, depth int) error {
	if depth > maxNested {
		w.o.Skipped(where, fmt.Sprintf("directories are nested more than %d deep", maxNested))
		return nil
	}
	isMaildir := isDir(dir, "cur") || isDir(dir, "new")
	if isMaildir {
		if err := w.maildir(dir, where, levels); err != nil {
			return err
		}
	}
	return inOrder(dir, func(name string) error {
		fi, err := dir.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil:
			w.o.Skipped(join(where, name), reason(err))
			return nil
		case fi.IsDir():
			return w.below(dir, name, where, levels, isMaildir, depth)
		case isMaildir:
			return nil // what IMAP servers keep beside the mail
		case !fi.Mode().IsRegular():
			w.o.Skipped(join(where, name), notRegular(fi.Mode()))
			return nil
		}
		return w.loose(dir, name, where, levels)
	})
}

// below goes into a directory in a directory.
func (w *walker) below(dir *os.Root, name, where string, levels []string, isMaildir bool, depth int) error {
	if isMaildir && (name == "cur" || name == "new" || name == "tmp") {
		return nil
	}
	sub, err := dir.OpenRoot(name)
	if err != nil {
		w.o.Skipped(join(where, name), reason(err))
		return nil
	}
	defer sub.Close()
	more := []string{base(maildir.DecodeLevel(name))}
	if strings.HasPrefix(name, ".") {
		more = maildir.DecodeFolder(name)
	}
	return w.directory(sub, join(where, name), append(slices.Clip(levels), more...), depth+1)
}

// loose hands on what is in a file beside others.
func (w *walker) loose(dir *os.Root, name, where string, levels []string) error {
	where = join(where, name)
	f, why := openRegular(dir, name)
	if f == nil {
		w.o.Skipped(where, why)
		return nil
	}
	defer f.Close()
	begin := make([]byte, 5)
	n, err := f.ReadAt(begin, 0)
	if err != nil && err != io.EOF {
		w.o.Skipped(where, reason(err))
		return nil
	}
	isMbox := string(begin[:n]) == "From "
	switch {
	case isMbox && name == "mbox" && len(levels) > 0: // Apple's Work.mbox/mbox
	case isLetter(name) && !(isMbox && !strings.Contains(name, ".")): // Thunderbird's Archives.sbd/2019 is an mbox
	case isMbox:
		levels = append(slices.Clip(levels), base(name))
	default:
		w.others++
		return nil
	}
	err = w.file(f, where, levels)
	if errors.Is(err, mbox.ErrNotMbox) {
		if strings.HasSuffix(name, ".eml") {
			w.o.Skipped(where, "it does not begin like a message")
		} else {
			w.others++
		}
		return nil
	}
	return err
}

// isLetter reports whether a file's name is that of a single message: those
// of MH are numbers.
func isLetter(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".eml") || strings.HasSuffix(name, ".txt") || strings.Trim(name, "0123456789") == ""
}

// maildir hands on the messages of one folder of a Maildir.
func (w *walker) maildir(dir *os.Root, where string, levels []string) error {
	keywords := readKeywords(dir)
	for _, sub := range []string{"cur", "new"} {
		if !isDir(dir, sub) {
			continue
		}
		d, err := dir.OpenRoot(sub)
		if err != nil {
			return err
		}
		err = inOrder(d, func(name string) error {
			if strings.HasPrefix(name, ".") {
				return nil
			}
			return w.message(d, name, join(join(where, sub), name), levels, keywords)
		})
		d.Close()
		if err != nil {
			return err
		}
	}
	if n := count(dir, "tmp"); n > 0 {
		w.o.Noted(fmt.Sprintf("%s: files that were never finished (%d) are left alone", join(where, "tmp"), n))
	}
	return nil
}

// message hands on a file of a Maildir.
func (w *walker) message(dir *os.Root, name, where string, levels, keywords []string) error {
	f, why := openRegular(dir, name)
	if f == nil {
		w.o.Skipped(where, why)
		return nil
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !w.fits(where, fi.Size()) {
		return nil
	}
	l := &Letter{
		Where: where, Folder: w.place(levels), CRLF: true, Content: f,
		Flags:    cleanFlags(maildir.Flags(name, keywords)),
		Received: first(fi.ModTime(), maildir.Came(name)),
	}
	if l.Received.IsZero() {
		n, err := f.ReadAt(w.head, 0)
		if err != nil && err != io.EOF {
			return err
		}
		s := readFields(headerOf(w.head[:n]))
		l.Received = first(s.received, s.sent)
	}
	err = w.hand(l)
	w.done += fi.Size()
	return err
}

// readKeywords reads what the small letters of a folder mean.
func readKeywords(dir *os.Root) []string {
	f, _ := openRegular(dir, maildir.KeywordsFile)
	if f == nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHead))
	if err != nil {
		return nil
	}
	return maildir.ParseKeywords(string(text))
}

// openRegular opens a regular file, or says why not. A link is not followed:
// it could lead anywhere. A FIFO does not make us wait for its writer.
func openRegular(dir *os.Root, name string) (*os.File, string) {
	fi, err := dir.Lstat(name)
	if err != nil {
		return nil, reason(err)
	}
	if !fi.Mode().IsRegular() {
		return nil, notRegular(fi.Mode())
	}
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, reason(err)
	}
	// It may have been exchanged meanwhile.
	if now, err := f.Stat(); err != nil || !os.SameFile(fi, now) {
		f.Close()
		return nil, "it was exchanged while it was opened"
	}
	return f, ""
}

func notRegular(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "it is a link, which is not followed"
	case mode.IsDir():
		return "it is a directory"
	}
	return "it is not a regular file"
}

// reason is an error without the path, which stands before it already.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err.Error()
}

func isDir(dir *os.Root, name string) bool {
	fi, err := dir.Lstat(name)
	return err == nil && fi.IsDir()
}

// count returns how many files a directory has, as far as that can be told.
func count(dir *os.Root, name string) (n int) {
	if !isDir(dir, name) {
		return 0
	}
	d, err := dir.Open(name)
	if err != nil {
		return 0
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(readNames)
		n += len(names)
		if err != nil || len(names) == 0 {
			return n
		}
	}
}

const (
	// pageNames is how many names are kept of a directory at once.
	pageNames = 20_000
	readNames = 1_000
)

// inOrder calls f with every name in a directory, the oldest message first. A
// directory may have more names than memory should hold: it is read once for
// each page of them.
func inOrder(dir *os.Root, f func(name string) error) error {
	for after := ""; ; {
		page, err := nextNames(dir, after, pageNames)
		if err != nil {
			return err
		}
		for _, name := range page {
			if err := f(name); err != nil {
				return err
			}
		}
		if len(page) < pageNames {
			return nil
		}
		after = page[len(page)-1]
	}
}

// nextNames returns the first n names after one, in order.
func nextNames(dir *os.Root, after string, n int) (page []string, err error) {
	d, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(readNames)
		for _, name := range names {
			if after == "" || maildir.Compare(name, after) > 0 {
				page = append(page, name)
			}
		}
		end := err == io.EOF || err == nil && len(names) == 0
		if err != nil && !end {
			return nil, err
		}
		if end || len(page) > 2*n {
			slices.SortFunc(page, maildir.Compare)
			page = page[:min(len(page), n)]
		}
		if end {
			return page, nil
		}
	}
}
