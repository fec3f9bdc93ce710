package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/daemon/operate"
)

func (a *app) mailboxExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export ACCOUNT FILE",
		Short: "Copy a whole mailbox into a file or a Maildir",
		Long: `Copy all folders of an account. FILE becomes one mbox (mboxrd) of all of
them; with a name that ends in "/", or an existing directory, it becomes a
Maildir with a sub-folder for each folder. Nothing that exists is overwritten.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			out, err := newExport(args[1])
			if err != nil {
				return err
			}
			n := 0
			err = a.operate(c, func(ctx context.Context, op *operate.Operator) error {
				return op.Do(ctx, "mailbox.export", control.Name{Name: args[0]}, func(it control.Item) error {
					var m control.Exported
					if err := json.Unmarshal(it.JSON, &m); err != nil {
						return err
					}
					n++
					return out.add(m, it.Body)
				})
			})
			if closed := out.close(err == nil); err == nil {
				err = closed
			}
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "Exported %s to %s.\n", plural(n, "message"), escape(args[1]))
			}
			return err
		},
	}
}

// export is where exported messages go.
type export interface {
	add(m control.Exported, content io.Reader) error
	close(whole bool) error
}

func newExport(path string) (export, error) {
	fi, err := os.Stat(path)
	if strings.HasSuffix(path, "/") || err == nil && fi.IsDir() {
		return &maildir{root: path}, os.MkdirAll(path, 0o700)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s exists already; name another file", path)
	}
	if err != nil {
		return nil, err
	}
	return &mbox{f: f, w: bufio.NewWriter(f)}, nil
}

// maxLine is more than the longest line that a message can have, so that
// lines are read whole.
const maxLine = 128 << 10

// mbox writes mboxrd: each message begins with a From_ line, and lines of the
// message that look like one, quoted or not, get one more ">".
type mbox struct {
	f *os.File
	w *bufio.Writer
}

func (x *mbox) add(m control.Exported, content io.Reader) error {
	fmt.Fprintf(x.w, "From MAILER-DAEMON %s\n", m.Received.UTC().Format(time.ANSIC))
	r := bufio.NewReaderSize(content, maxLine) // whole lines
	for {
		line, err := r.ReadSlice('\n')
		if bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte("From ")) {
			x.w.WriteByte('>')
		}
		if text, ok := bytes.CutSuffix(line, []byte("\r\n")); ok {
			line = append(text, '\n')
		}
		if _, werr := x.w.Write(line); werr != nil {
			return werr
		}
		if err == io.EOF {
			return x.w.WriteByte('\n')
		}
		if err != nil {
			return err
		}
	}
}

func (x *mbox) close(whole bool) error {
	err := errors.Join(x.w.Flush(), x.f.Sync(), x.f.Close())
	if !whole {
		os.Remove(x.f.Name()) // half a mailbox must not pass for one
	}
	return err
}

// maildir writes a Maildir++: the inbox at the top, each other folder in a
// directory that begins with a dot.
type maildir struct {
	root  string
	made  map[string]bool
	count int
}

// maildirFlags are the letters of the flags in a file's name, in order.
var maildirFlags = []struct{ flag, letter string }{
	{`\Draft`, "D"}, {`\Flagged`, "F"}, {`\Answered`, "R"}, {`\Seen`, "S"}, {`\Deleted`, "T"},
}

func (x *maildir) add(m control.Exported, content io.Reader) error {
	dir := x.root
	if m.Folder != "INBOX" {
		dir = filepath.Join(x.root, "."+maildirName(m.Folder))
	}
	if !x.made[dir] {
		for _, sub := range []string{"cur", "new", "tmp"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
				return err
			}
		}
		if x.made == nil {
			x.made = map[string]bool{}
		}
		x.made[dir] = true
	}
	x.count++
	name := fmt.Sprintf("%d.%d_%d.gatepost", m.Received.Unix(), m.UID, x.count)
	var letters strings.Builder
	for _, f := range maildirFlags {
		if slices.Contains(m.Flags, f.flag) {
			letters.WriteString(f.letter)
		}
	}
	return writeMessage(filepath.Join(dir, "tmp", name), filepath.Join(dir, "cur", name+":2,"+letters.String()), m.Received, content)
}

func writeMessage(tmp, final string, received time.Time, content io.Reader) error {
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.Chtimes(tmp, received, received); err != nil {
		return err
	}
	return os.Rename(tmp, final)
}

// maildirName makes a folder's name one path element: levels are separated by
// dots, and what would end or leave the element is written as "=XX".
func maildirName(folder string) string {
	var b strings.Builder
	for i := 0; i < len(folder); i++ {
		switch c := folder[i]; {
		case c == '/':
			b.WriteByte('.')
		case c == '.' || c == '=' || c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, "=%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (x *maildir) close(bool) error { return nil }
