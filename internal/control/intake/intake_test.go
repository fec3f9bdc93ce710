package intake

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/lines"
	"gatepost/internal/mailbox"
	"gatepost/internal/store"
	"gatepost/internal/store/storetest"
)

// boxes are mailboxes with the account 1.
func boxes(t *testing.T) *mailbox.Boxes {
	t.Helper()
	db := storetest.Open(t)
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`); err != nil {
			return err
		}
		_, err := tx.Exec(`INSERT INTO account
			(id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
			VALUES (1, 'example.org', 'anna', 'user', 0, 0, 0, 0, ?, 0)`, []byte{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := blob.OpenDir(filepath.Join(t.TempDir(), "blob"))
	if err != nil {
		t.Fatal(err)
	}
	return mailbox.New(db, blobs, clock.NewFake(time.Unix(1e9, 0)), rand.Reader)
}

// given is what a command gives: letters with their content, and how it ends.
type given struct {
	letters []Letter
	content func(i int) io.Reader
	end     error
	next    int
}

func (g *given) give() (json.RawMessage, io.Reader, error) {
	if g.next == len(g.letters) {
		return nil, nil, g.end
	}
	raw, err := json.Marshal(g.letters[g.next])
	g.next++
	return raw, g.content(g.next - 1), err
}

// run imports what is given and returns the sums and the batches.
func run(t *testing.T, b *mailbox.Boxes, quota int64, g *given) (sum Filed, batches int, err error) {
	t.Helper()
	box, err := b.Import(t.Context(), 1, quota, false)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	err = Run(t.Context(), box, g.give, func(f Filed) error {
		batches++
		sum.Filed += f.Filed
		sum.Known += f.Known
		sum.Left = append(sum.Left, f.Left...)
		return nil
	})
	return sum, batches, err
}

func letters(n int) []Letter {
	list := make([]Letter, n)
	for i := range list {
		list[i] = Letter{Where: fmt.Sprint("number ", i), Folder: "INBOX"}
	}
	return list
}

func text(i int) io.Reader { return strings.NewReader(fmt.Sprintf("Subject: %d\n\n%d\n", i, i)) }

func TestRun(t *testing.T) {
	t.Parallel()
	b := boxes(t)
	sum, batches, err := run(t, b, 0, &given{letters: letters(2*maxBatch + 1), content: text, end: io.EOF})
	if sum.Filed != 2*maxBatch+1 || batches != 3 || err != nil {
		t.Errorf("%+v in %d batches, %v", sum, batches, err)
	}
	sum, _, err = run(t, b, 0, &given{letters: letters(10), content: text, end: io.EOF})
	if sum.Known != 10 || sum.Filed != 0 || err != nil {
		t.Errorf("again: %+v, %v", sum, err)
	}
	large := func(i int) io.Reader { return strings.NewReader(strings.Repeat(fmt.Sprint(i%10), 60<<10)) }
	if _, batches, err = run(t, b, 0, &given{letters: letters(80), content: large, end: io.EOF}); batches < 2 || err != nil {
		t.Errorf("large ones in %d batches, %v", batches, err)
	}
}

// What is not taken is named, and the rest is.
func TestLeft(t *testing.T) {
	t.Parallel()
	b := boxes(t)
	list := letters(4)
	list[1].Folder = ".."
	list[2].Flags = []string{"a b"}
	sum, _, err := run(t, b, 0, &given{letters: list, end: io.EOF, content: func(i int) io.Reader {
		if i == 3 {
			return strings.NewReader(strings.Repeat("a\nb\r\n", lines.MaxNote))
		}
		return text(i)
	}})
	if err != nil || sum.Filed != 2 || len(sum.Left) != 3 {
		t.Fatalf("%+v, %v", sum, err)
	}
	for i, l := range sum.Left {
		if l.Where != fmt.Sprint("number ", i+1) || l.Why == "" || l.Taken != (i == 2) {
			t.Errorf("%+v", l)
		}
	}
}

// Whatever ends an import, what was whole before is there.
func TestEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	breaks := func(i int) io.Reader {
		if i == 3 {
			return io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken))
		}
		return text(i)
	}
	for name, c := range map[string]struct {
		quota int64
		g     given
		filed int
		want  error
	}{
		"the command ends":  {0, given{letters: letters(5), content: text, end: broken}, 5, broken},
		"a body breaks off": {0, given{letters: letters(5), content: breaks, end: io.EOF}, 3, broken},
		"no room":           {40, given{letters: letters(5), content: text, end: io.EOF}, 2, mailbox.ErrQuota},
	} {
		sum, _, err := run(t, boxes(t), c.quota, &c.g)
		if sum.Filed != c.filed || !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v", name, sum, err)
		}
	}
	box, err := boxes(t).Import(t.Context(), 1, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	err = Run(t.Context(), box, func() (json.RawMessage, io.Reader, error) { return json.RawMessage(`[`), nil, nil }, func(Filed) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "different versions") {
		t.Error(err)
	}
}
