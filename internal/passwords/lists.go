package passwords

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gatepost/internal/passwords/breached"
)

// ListInfo tells about a list of breached passwords.
type ListInfo = breached.Info

// breached reports whether a password, as it is or in lower case, is on a
// list. Everybody who tries the words of a list tries them with a capital
// too.
func (p *Policy) breached(pw string) (bool, error) {
	common, err := breached.Common()
	if err != nil {
		return false, err
	}
	own, done, err := openList(p.File)
	if err != nil {
		return false, err
	}
	defer done()
	for _, l := range []*breached.List{common, own} {
		for _, s := range []string{pw, strings.ToLower(pw)} {
			if l == nil {
				continue
			}
			if on, err := l.Contains(s); on || err != nil {
				return on, listError(p.File, err)
			}
		}
	}
	return false, nil
}

// openList opens the operator's list, nil if there is none. It is opened for
// each look-up: passwords are set seldom, and what was loaded counts at once.
func openList(file string) (l *breached.List, done func() error, err error) {
	none := func() error { return nil }
	if file == "" {
		return nil, none, nil
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, none, nil
	}
	if err != nil {
		return nil, none, fmt.Errorf("the list of breached passwords cannot be read: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		l, err = breached.Read(f, info.Size())
	}
	if err != nil {
		f.Close()
		return nil, none, listError(file, err)
	}
	return l, f.Close, nil
}

func listError(file string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("the list of breached passwords in %s cannot be used: %w; load it again with gatepost account breached load, or take it away with gatepost account breached remove", file, err)
}

// Lists tells about the list that ships inside, and about the operator's,
// nil if there is none. whole reads all of that and compares it with its
// checksums.
func (p *Policy) Lists(whole bool) (common ListInfo, own *ListInfo, err error) {
	inside, err := breached.Common()
	if err != nil {
		return ListInfo{}, nil, err
	}
	l, done, err := openList(p.File)
	if err != nil || l == nil {
		return inside.Info(), nil, err
	}
	defer done()
	if whole {
		err = listError(p.File, l.Verify())
	}
	info := l.Info()
	return inside.Info(), &info, err
}

// Load makes the operator's list of what Have I Been Pwned offers for
// download: a text, or a directory of ranges, named by from; "-" is in. After
// a crash there is the list from before or the whole new one. progress is
// told how much of about how much was read.
func (p *Policy) Load(from string, in io.Reader, made time.Time, progress func(done, total int64)) (info ListInfo, err error) {
	dir := filepath.Dir(p.File)
	f, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return info, err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if info, err = convert(from, in, f, made, progress); err != nil {
		return info, fmt.Errorf("%s cannot be loaded: %w", from, err)
	}
	if err = likeDir(f, dir); err != nil {
		return info, err
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return info, err
	}
	if err = os.Rename(f.Name(), p.File); err != nil {
		return info, err
	}
	return info, syncDir(dir)
}

func convert(from string, in io.Reader, to io.Writer, made time.Time, progress func(done, total int64)) (ListInfo, error) {
	if from == "-" {
		return breached.Convert(&told{r: in, progress: progress}, to, made)
	}
	f, err := os.Open(from)
	if err != nil {
		return ListInfo{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return ListInfo{}, err
	case info.IsDir():
		return breached.ConvertRanges(os.DirFS(from), to, made, progress)
	}
	return breached.Convert(&told{r: f, total: info.Size(), progress: progress}, to, made)
}

// told tells how far a reader has come.
type told struct {
	r           io.Reader
	done, total int64
	progress    func(done, total int64)
}

func (t *told) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.done += int64(n)
	t.progress(t.done, t.total)
	return n, err
}

// Unload takes the operator's list away.
func (p *Policy) Unload() error {
	err := os.Remove(p.File)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("no list of breached passwords was loaded; the one that ships inside stays")
	}
	return errors.Join(err, syncDir(filepath.Dir(p.File)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// likeDir gives a file to whom the directory belongs: the server, which runs
// as a user of its own, must be able to read what root loads.
func likeDir(f *os.File, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}
