package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/blob"
	"gatepost/internal/blob/crashfs"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
)

// world is a spool on a file system that can crash, and what the spool has
// promised so far. It lives in a synctest bubble: still waits until both of
// the spool's goroutines have nothing to do, so that the same seed gives the
// same operations.
type world struct {
	t      testing.TB
	fs     *crashfs.FS
	hook   func(crashfs.Op) error // of fs and of those that come after it
	gate   *gate                  // of the syncs of segments, from the next start on; nil: none
	clock  *clock.Fake
	rng    *rand.Rand
	random io.Reader
	s      *Spool
	report *Report
	mu     sync.Mutex // of the truths
	truths []*truth
	hunt   bool      // a violation is not a failure of the test, but panics
	log    io.Writer // nil: nobody reads it
	fault  error     // what reading a body may fail with; nil: it may not
	lives  int       // starts
	stray  bool      // the spool did not end by itself since the truths were learned
	buf    []byte    // for bodies that are read
	bulky  bool      // many messages are large
	crowd  int       // messages that may wait before more are finished than come
	size   int64     // of segments
}

// violation is a promise that was broken, where a test hunts for one.
type violation string

// Where the spool and its blobs are: in directories of their own, so that
// the sync of one says nothing of the other.
const (
	spoolDir = "/log/spool"
	blobDir  = "/files/blob"
)

// truth is what the spool has promised of one message.
type truth struct {
	id      envelope.ID
	env     envelope.Envelope
	body    []byte
	acked   bool
	refused bool        // answered with an error
	gone    bool        // not there after a start: it must never come back
	states  [][]promise // of each recipient in the order of its changes, then of the marks
	sure    []int       // of each: index of the last that is durable
	life    []int       // of each: in which of the world's lives it was last changed
	perhaps *promise    // of the first recipient: what a refused record said, which a crash may bring back
	says    string      // the reason in the change that rides in this one's record
	of      *truth      // the message whose end rides in this one's record
}

// promise is one state of a recipient, or of the marks.
type promise struct {
	status        envelope.Status
	attempts      uint16
	next          time.Time
	reason        string
	held, delayed bool
}

const (
	testSegment = 64 << 10
	testInline  = 8 << 10
)

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{t: t, fs: crashfs.New(), clock: clock.NewFake(time.Unix(1e9, 0).UTC()), size: testSegment, crowd: 10}
	w.sow(seed)
	err := errors.Join(w.fs.Mkdir("/log"), w.fs.Mkdir("/files"), w.fs.SyncDir("/"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// sow makes all that follows depend on a seed.
func (w *world) sow(seed uint64) {
	w.rng = rand.New(rand.NewPCG(seed, 1))
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	w.random = &lockedReader{r: rand.NewChaCha8(key)}
}

type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

func (w *world) options() (Options, error) {
	blobs, err := blob.OpenDirOn(w.fs, blobDir)
	log := slog.New(slog.DiscardHandler)
	if w.log != nil {
		log = slog.New(slog.NewTextHandler(w.log, nil))
	}
	var fs blob.FS = w.fs
	if w.gate != nil {
		fs = gatedFS{fs, w.gate}
	}
	return Options{
		Dir: spoolDir, FS: fs, Blobs: blobs, Clock: w.clock, Random: w.random, Log: log,
		SegmentSize: w.size, Inline: testInline, DraftBudget: 1 << 20, FreshBudget: 64 << 10,
	}, err
}

// open starts the spool; it fails only when the machine has stopped.
func (w *world) open() error {
	w.fs.Hook = w.hook
	o, err := w.options()
	if err != nil {
		return err
	}
	s, report, err := Open(o)
	if err != nil {
		return err
	}
	w.s, w.report = s, report
	w.lives++
	s.Serve(func(*envelope.Envelope) {})
	w.still()
	return nil
}

func (w *world) mustOpen() {
	w.t.Helper()
	if err := w.open(); err != nil {
		w.fatalf("the spool does not start: %v", err)
	}
}

func (w *world) still() { synctest.Wait() }

// commit hands a message with n recipients and a body of a size to the
// spool. riders are changes of another message.
func (w *world) commit(n, size int, riders ...envelope.Change) *truth {
	tr, err := w.tryCommit(n, size, riders...)
	tr.acked, tr.refused = err == nil, err != nil
	return tr
}

// text returns a body that cannot be mistaken for another.
func text(size int, seed uint64) []byte {
	line := fmt.Sprintf("line of message %d: the quick brown fox jumps over the lazy dog\r\n", seed)
	return []byte(strings.Repeat(line, size/len(line)+1)[:size])
}

func (w *world) tryCommit(n, size int, riders ...envelope.Change) (*truth, error) {
	w.mu.Lock()
	serial := len(w.truths)
	tr := &truth{body: text(size, uint64(serial))}
	w.truths = append(w.truths, tr)
	w.clock.Advance(time.Millisecond)
	w.mu.Unlock()
	e := &envelope.Envelope{
		From:   addr.MustParse(fmt.Sprintf("sender%d@example.org", serial)),
		Header: []byte("Received: from a by b\r\n"), Client: "192.0.2.1", Origin: envelope.User,
		Account: "sender@example.org", EnvID: "xtext+20", Ret: envelope.RetHdrs, UTF8: true, RequireTLS: true, TLSOptional: true, Unfit: true, Form: envelope.EightBit,
	}
	for i := range n {
		e.Recipients = append(e.Recipients, envelope.Recipient{
			To: addr.MustParse(fmt.Sprintf("r%d@example.com", i)), ORcpt: "rfc822;x", Notify: envelope.NotifyFailure,
		})
		if i%2 == 1 {
			e.Recipients[i].Via = addr.MustParse("alias@example.org")
		}
	}
	d := w.s.Create()
	for rest := tr.body; len(rest) > 0; {
		k := min(len(rest), 3000)
		if _, err := d.Write(rest[:k]); err != nil {
			d.Discard()
			return tr, err
		}
		rest = rest[k:]
	}
	id, err := envelope.NewID(w.clock.Now(), w.random)
	if err != nil {
		w.t.Error(err)
	}
	e.ID = id
	tr.id = id
	tr.states = make([][]promise, n+1)
	tr.sure, tr.life = make([]int, n+1), make([]int, n+1)
	for i := range tr.states {
		tr.states[i] = []promise{{}}
	}
	err = d.Commit(e, riders...)
	tr.env = *e
	tr.env.Recipients = slices.Clone(e.Recipients)
	return tr, err
}

// change changes a recipient, -1 for the marks, of a message.
func (w *world) change(tr *truth, recipient int, p promise) {
	c := p.change(tr.id, recipient)
	i := place(tr, recipient)
	if !w.there(tr) {
		return // its segment cannot be read at the moment
	}
	if last := tr.states[i][len(tr.states[i])-1]; last.status.Final() || tr.over() {
		return
	}
	tr.states[i] = append(tr.states[i], p)
	n := len(tr.states[i]) - 1
	tr.life[i] = w.lives
	w.s.Change([]envelope.Change{c}, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		tr.sure[i] = max(tr.sure[i], n)
	})
}

// there reports whether a message is there to be seen.
func (w *world) there(tr *truth) bool { return w.s.View(tr.id, func(*envelope.Envelope) {}) }

func (p promise) change(id envelope.ID, recipient int) envelope.Change {
	return envelope.Change{
		ID: id, Recipient: recipient, Status: p.status, Attempts: p.attempts, Next: p.next, Reason: p.reason,
		Held: p.held, Delayed: p.delayed,
	}
}

func place(tr *truth, recipient int) int {
	if recipient < 0 {
		return len(tr.states) - 1
	}
	return recipient
}

// over reports whether every recipient was last said to be final, surely
// whether that is durable.
func (tr *truth) over() bool {
	for _, list := range tr.states[:len(tr.states)-1] {
		if !list[len(list)-1].status.Final() {
			return false
		}
	}
	return true
}

// perhapsOver is over if what was refused has come back.
func (tr *truth) perhapsOver() bool {
	if tr.perhaps == nil {
		return false
	}
	for _, list := range tr.states[1 : len(tr.states)-1] {
		if !list[len(list)-1].status.Final() {
			return false
		}
	}
	return true
}

func (tr *truth) surely() bool {
	for i, list := range tr.states[:len(tr.states)-1] {
		if !list[tr.sure[i]].status.Final() {
			return false
		}
	}
	return true
}

// check compares the spool with what it has promised.
func (w *world) check(context string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	known := map[envelope.ID]bool{}
	for i, tr := range w.truths {
		if tr.id.IsZero() {
			continue
		}
		known[tr.id] = true
		there := w.there(tr)
		switch {
		case !there && tr.acked && !tr.over() && !(w.stray && tr.perhapsOver()):
			w.fatalf("%s: message %d was acknowledged and is gone", context, i)
		case there && tr.surely():
			w.fatalf("%s: message %d was durably done and is back", context, i)
		case there && tr.gone:
			w.fatalf("%s: message %d was gone and is back", context, i)
		case there && tr.refused && !w.stray:
			w.fatalf("%s: message %d was refused and is there", context, i)
		}
		if there {
			w.checkWhole(context, i, tr)
		}
		if tr.of != nil && !tr.acked {
			w.checkOne(context, i, tr, there)
		}
	}
	w.s.Each(func(e *envelope.Envelope) bool {
		if !known[e.ID] {
			w.fatalf("%s: there is a message that nobody sent", context)
		}
		return true
	})
	for _, f := range w.report.Findings {
		w.fatalf("%s: reported as damaged: %s", context, f)
	}
}

// learn takes what is there after a start for a promise: what is offered
// once stays, and what is not there never comes back.
func (w *world) learn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stray = false
	for _, tr := range w.truths {
		if tr.id.IsZero() {
			continue
		}
		tr.of, tr.refused, tr.perhaps = nil, false, nil
		tr.acked = w.s.View(tr.id, func(e *envelope.Envelope) {
			for k, r := range e.Recipients {
				tr.states[k] = []promise{{r.Status, r.Attempts, r.Next, r.Reason, false, false}}
			}
			tr.states[len(tr.states)-1] = []promise{{held: e.Held, delayed: e.Delayed}}
			clear(tr.sure)
		})
		tr.gone = !tr.acked
	}
}

// fatalf ends the test, or the hunt, and the spool first: its goroutines
// would keep the bubble from ending.
func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	if w.s != nil {
		w.fs.Stop()
		go w.s.Close()
	}
	if w.hunt {
		panic(violation(fmt.Sprintf(format, args...)))
	}
	w.t.Fatalf(format, args...)
}

// checkOne checks that a refused or unanswered message and the change that
// rode in its record both happened or neither.
func (w *world) checkOne(context string, i int, tr *truth, there bool) {
	w.t.Helper()
	w.s.View(tr.of.id, func(e *envelope.Envelope) {
		r := e.Recipients[0]
		if there && !r.Status.Final() || !there && r.Reason == tr.says {
			w.fatalf("%s: message %d and the change in its record are not one", context, i)
		}
	})
}

// checkWhole compares a message with what was committed.
func (w *world) checkWhole(context string, i int, tr *truth) {
	w.t.Helper()
	b, err := w.s.Body(tr.id)
	var told *envelope.Error
	if w.fault != nil && errors.Is(err, w.fault) && errors.As(err, &told) && told.Code == 451 {
		return
	}
	if err != nil {
		w.fatalf("%s: message %d: %v", context, i, err)
	}
	if err := w.same(b, tr.body); err != nil {
		w.fatalf("%s: message %d is not whole: %v", context, i, err)
	}
	if err := b.Close(); err != nil {
		w.t.Error(err)
	}
	w.s.View(tr.id, func(e *envelope.Envelope) {
		if e.From != tr.env.From || !bytes.Equal(e.Header, tr.env.Header) || len(e.Recipients) != len(tr.env.Recipients) ||
			e.Size != int64(len(tr.body)+len(e.Header)) || !e.Received.Equal(tr.env.Received) || e.Client != tr.env.Client ||
			e.Account != tr.env.Account || e.EnvID != tr.env.EnvID || e.Ret != tr.env.Ret || e.UTF8 != tr.env.UTF8 || e.RequireTLS != tr.env.RequireTLS || e.TLSOptional != tr.env.TLSOptional ||
			e.Unfit != tr.env.Unfit || e.Form != tr.env.Form || e.Origin != tr.env.Origin {
			w.fatalf("%s: message %d has another envelope: %+v", context, i, e)
		}
		for k, r := range e.Recipients {
			if r.To != tr.env.Recipients[k].To || r.ORcpt != tr.env.Recipients[k].ORcpt || r.Notify != tr.env.Recipients[k].Notify || r.Via != tr.env.Recipients[k].Via {
				w.fatalf("%s: message %d has another recipient", context, i)
			}
			w.checkState(context, i, tr, k, promise{r.Status, r.Attempts, r.Next, r.Reason, false, false})
		}
		w.checkState(context, i, tr, len(e.Recipients), promise{held: e.Held, delayed: e.Delayed})
	})
}

// same compares a body with what it should be.
func (w *world) same(b *envelope.Body, want []byte) error {
	if b.Size() != int64(len(want)) {
		return fmt.Errorf("%d octets of %d", b.Size(), len(want))
	}
	got := b.Bytes()
	if got == nil {
		w.buf = slices.Grow(w.buf[:0], len(want))[:len(want)]
		got = w.buf
		if _, err := io.ReadFull(b.Reader(), got); err != nil {
			return err
		}
	}
	if !bytes.Equal(got, want) {
		return errors.New("it is another")
	}
	return nil
}

func (w *world) checkState(context string, i int, tr *truth, k int, got promise) {
	w.t.Helper()
	said := tr.states[k][tr.sure[k]:]
	if k == 0 && tr.perhaps != nil && w.stray {
		said = append(slices.Clone(said), *tr.perhaps)
	}
	for _, p := range said {
		if p.status == got.status && p.attempts == got.attempts && p.next.Equal(got.next) && p.reason == got.reason &&
			p.held == got.held && p.delayed == got.delayed {
			return
		}
	}
	w.fatalf("%s: message %d, recipient %d: %+v is none of what was said, %+v from %d on", context, i, k, got, tr.states[k], tr.sure[k])
}

// step does something that seems likely at a mail server.
func (w *world) step() {
	var waiting []*truth
	for _, tr := range w.truths {
		if tr.acked && !tr.over() && w.there(tr) {
			waiting = append(waiting, tr)
		}
	}
	kind := w.rng.IntN(20)
	if len(waiting) > w.crowd {
		kind = 10 + w.rng.IntN(10)
	}
	if w.bulky && kind%2 == 0 {
		w.commit(1, testInline+w.rng.IntN(testInline))
		return
	}
	if len(waiting) == 0 || kind < 9 {
		w.commit(1+w.rng.IntN(3)*w.rng.IntN(2), w.rng.IntN(testInline))
		return
	}
	// The young die soon; some linger.
	tr := waiting[max(w.rng.IntN(len(waiting)), w.rng.IntN(len(waiting)))]
	k := w.rng.IntN(len(tr.env.Recipients))
	n := uint16(len(tr.states[k]))
	switch {
	case kind == 9:
		w.commit(1, testInline+w.rng.IntN(2*testInline))
	case kind == 10 && len(waiting) <= w.crowd:
		w.together(2 + w.rng.IntN(4))
	case kind == 11:
		w.change(tr, -1, promise{held: w.rng.IntN(2) == 0, delayed: n > 2})
	case kind == 12:
		w.bounce(tr)
	case kind == 13:
		w.s.Release(tr.id)
	case kind < 16:
		w.change(tr, k, promise{status: envelope.Deferred, attempts: n, next: w.clock.Now().Add(time.Hour), reason: "451 4.7.1 later"})
	default:
		w.change(tr, k, promise{status: envelope.Delivered, attempts: n})
	}
}

// together commits several messages at once.
func (w *world) together(n int) {
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() { w.commit(1, 100+500*i) })
	}
	done.Wait()
}

// bounce fails the first recipient of a message and commits the bounce that
// says so, as one.
func (w *world) bounce(of *truth) {
	p := promise{status: envelope.Failed, attempts: 1, reason: fmt.Sprint("550 no such user; told by ", len(w.truths))}
	if list := of.states[0]; list[len(list)-1].status.Final() || of.of != nil {
		return
	}
	tr, err := w.tryCommit(1, 700, p.change(of.id, 0))
	tr.of, tr.says = of, p.reason
	tr.acked, tr.refused = err == nil, err != nil
	w.mu.Lock()
	defer w.mu.Unlock()
	if !tr.acked {
		of.perhaps = &p
		return
	}
	of.states[0] = append(of.states[0], p)
	of.sure[0] = len(of.states[0]) - 1
}

// clone returns a world with the same promises, to go on from.
func (w *world) clone() *world {
	c := &world{t: w.t, fs: w.fs, clock: clock.NewFake(w.clock.Now()), rng: w.rng, random: w.random,
		hunt: w.hunt, log: w.log, lives: w.lives, stray: w.stray, size: w.size, crowd: w.crowd}
	copies := map[*truth]*truth{}
	for _, tr := range w.truths {
		n := *tr
		n.sure, n.life = slices.Clone(tr.sure), slices.Clone(tr.life)
		n.states = nil
		for _, list := range tr.states {
			n.states = append(n.states, slices.Clone(list))
		}
		if tr.of != nil {
			n.of = copies[tr.of]
		}
		copies[tr] = &n
		c.truths = append(c.truths, &n)
	}
	return c
}
