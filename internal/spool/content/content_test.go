package content

import (
	"errors"
	"io"
	"io/fs"
	"testing"

	"gatepost/internal/blob"
	"gatepost/internal/blob/blobtest"
	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/wire"
)

// A blob is handed out if it has the size and, where it is to be checked, the
// sum that was committed. What it holds open is closed with the body.
func TestBlob(t *testing.T) {
	t.Parallel()
	const text = "the content of a message\r\n"
	store, err := blob.OpenDirOn(crashfs.New(), "/blob")
	if err != nil {
		t.Fatal(err)
	}
	blobtest.Put(t, store, "a", text)
	good := wire.Content{Size: int64(len(text)), Sum: wire.Checksum([]byte(text)), Blob: true}
	longer, other := good, good
	longer.Size++
	other.Sum++
	for _, tt := range []struct {
		name  string
		blob  string
		c     wire.Content
		check bool
		want  error
	}{
		{"as it was", "a", good, true, nil},
		{"as it was, not checked", "a", good, false, nil},
		{"of another size", "a", longer, false, ErrDamaged},
		{"of another sum", "a", other, true, ErrDamaged},
		{"of another sum, not checked", "a", other, false, nil},
		{"missing", "b", good, true, fs.ErrNotExist},
	} {
		open := &counting{Store: store}
		body, err := Blob(open, tt.blob, tt.c, tt.check)
		if !errors.Is(err, tt.want) || (body == nil) != (tt.want != nil) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if body != nil {
			read(t, tt.name, body, tt.blob, text)
		}
		if open.n != 0 {
			t.Errorf("%s: %d files are left open", tt.name, open.n)
		}
	}
}

func read(t *testing.T, what string, b *envelope.Body, name, text string) {
	t.Helper()
	got, err := io.ReadAll(b.Reader())
	if err != nil || string(got) != text || b.Blob != name {
		t.Errorf("%s: %q of %q, %v", what, got, b.Blob, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// counting counts files that are open.
type counting struct {
	blob.Store
	n int
}

func (c *counting) Open(name string) (blob.File, error) {
	f, err := c.Store.Open(name)
	if err != nil {
		return nil, err
	}
	c.n++
	return closing{f, c}, nil
}

type closing struct {
	blob.File
	c *counting
}

func (c closing) Close() error {
	c.c.n--
	return c.File.Close()
}
