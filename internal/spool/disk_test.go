package spool

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"gatepost/internal/addr"
	"gatepost/internal/blob"
	"gatepost/internal/blob/crashfs"
	"gatepost/internal/envelope"
)

// inBubble runs a test on a spool of its own. still then waits until the
// spool has nothing to do.
func inBubble(t *testing.T, test func(*testing.T, *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.mustOpen()
		defer func() { w.s.Close() }()
		test(t, w)
	})
}

// disk fails operations, by kind.
type disk struct {
	mu   sync.Mutex
	fail map[crashfs.Kind]error
	once bool
	seen []crashfs.Op
}

// watch puts a disk that can be told to fail beneath w.
func (w *world) watch() *disk {
	d := &disk{fail: map[crashfs.Kind]error{}}
	w.still() // the housekeeper may be using the disk
	w.fs.Hook = func(op crashfs.Op) error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.seen = append(d.seen, op)
		err := d.fail[op.Kind]
		if d.once {
			delete(d.fail, op.Kind)
		}
		return err
	}
	w.hook = w.fs.Hook
	return d
}

func (d *disk) set(err error, kinds ...crashfs.Kind) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.once = false
	clear(d.fail)
	for _, kind := range kinds {
		d.fail[kind] = err
	}
}

// setOnce makes the next operation of a kind fail.
func (d *disk) setOnce(err error, kind crashfs.Kind) {
	d.set(err, kind)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.once = true
}

// count returns how many operations of a kind there were since it was asked
// last, on paths that contain a text.
func (d *disk) count(kind crashfs.Kind, path string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, op := range d.seen {
		if op.Kind == kind && strings.Contains(op.Path, path) {
			n++
		}
	}
	d.seen = nil
	return n
}

// gate holds up syncs of segments while it is shut.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // closed when it opens; nil: it is open
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opened)
	g.opened = nil
}

// gatedFS is a file system behind a gate.
type gatedFS struct {
	blob.FS
	gate *gate
}

type gatedFile struct {
	blob.Handle
	gate *gate
}

func (f gatedFS) Create(name string) (blob.Handle, error) {
	h, err := f.FS.Create(name)
	return gatedFile{h, f.gate}, err
}

func (f gatedFS) Open(name string) (blob.Handle, error) {
	h, err := f.FS.Open(name)
	return gatedFile{h, f.gate}, err
}

func (f gatedFile) Sync() error {
	f.gate.mu.Lock()
	opened := f.gate.opened
	f.gate.mu.Unlock()
	if opened != nil {
		<-opened
	}
	return f.Handle.Sync()
}

// letter returns an envelope to n recipients.
func letter(n int) *envelope.Envelope {
	e := &envelope.Envelope{From: addr.MustParse("a@example.org"), Header: []byte("Received: x\r\n"), Origin: envelope.User}
	for range n {
		e.Recipients = append(e.Recipients, envelope.Recipient{To: addr.MustParse("b@example.com")})
	}
	return e
}

// send commits a message.
func (w *world) send(e *envelope.Envelope, body string, changes ...envelope.Change) error {
	d := w.s.Create()
	defer d.Discard()
	if _, err := io.WriteString(d, body); err != nil {
		return err
	}
	return d.Commit(e, changes...)
}

func (w *world) mustSend(e *envelope.Envelope, body string, changes ...envelope.Change) envelope.ID {
	w.t.Helper()
	if err := w.send(e, body, changes...); err != nil {
		w.fatalf("%v", err)
	}
	return e.ID
}

// body returns the content of a message.
func (w *world) body(id envelope.ID) (string, error) {
	b, err := w.s.Body(id)
	if err != nil {
		return "", err
	}
	defer b.Close()
	content, err := io.ReadAll(b.Reader())
	return string(content), err
}

// is checks the reply in an error.
func is(t *testing.T, what string, err error, code int, enhanced string) {
	t.Helper()
	var e *envelope.Error
	switch {
	case err == nil && code == 0:
	case !errors.As(err, &e) || e.Code != code || e.Enhanced != enhanced:
		t.Errorf("%s: %v, want %d %s", what, err, code, enhanced)
	}
}

// state returns the recipients of a message, nil if it is not there.
func (w *world) state(id envelope.ID) (list []envelope.Recipient) {
	w.s.View(id, func(e *envelope.Envelope) { list = append(list, e.Recipients...) })
	return list
}

// restart closes the spool in good order and opens it again.
func (w *world) anew() {
	w.t.Helper()
	if err := w.s.Close(); err != nil {
		w.fatalf("%v", err)
	}
	w.mustOpen()
}
