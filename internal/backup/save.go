package backup

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"gatepost/internal/blob"
)

// saveBuffer is what is written at once, in octets.
const saveBuffer = 1 << 20

// Save makes a file that only its owner can read of what write writes. It has
// its name only when it is whole and durable; after an error, as after a
// crash, there is no such file. Nothing is written over.
func Save(fsys blob.FS, path string, write func(io.Writer) error) error {
	if f, err := fsys.Open(path); err == nil {
		return errors.Join(fmt.Errorf("%s exists already; name another file", path), f.Close())
	}
	dir := filepath.Dir(path)
	// A crash may leave it: whoever finds it can see what it is.
	part := filepath.Join(dir, ".gatepost-"+rand.Text()+".part")
	f, err := fsys.Create(part)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(&appender{file: f}, saveBuffer)
	err = write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = fsys.Rename(part, path)
	}
	if err != nil {
		_ = fsys.Remove(part)
		return err
	}
	if err := fsys.SyncDir(dir); err != nil {
		_ = fsys.Remove(path)
		return err
	}
	return nil
}

// appender writes at the end of a file.
type appender struct {
	file blob.Handle
	off  int64
}

func (a *appender) Write(p []byte) (int, error) {
	n, err := a.file.WriteAt(p, a.off)
	a.off += int64(n)
	return n, err
}
