package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/snapshot"
)

// holder is what the blobs of a world can do beside what a spool asks of them.
type holder interface{ Hold() func() }

// moment is a snapshot with what was true when it was taken.
type moment struct {
	n       *Snapshot
	release func()
	truths  map[envelope.ID]truth
}

func (w *world) moment() *moment {
	m := &moment{release: w.s.o.Blobs.(holder).Hold(), truths: map[envelope.ID]truth{}}
	m.n = w.s.Snapshot()
	for _, tr := range w.truths {
		if !tr.id.IsZero() && w.there(tr) {
			c := *tr
			c.states = nil
			for _, list := range tr.states {
				c.states = append(c.states, list[len(list)-1:])
			}
			m.truths[tr.id] = c
		}
	}
	return m
}

func (m *moment) close() {
	m.n.Close()
	m.release()
}

// findings checks a snapshot.
func (w *world) findings(n *Snapshot) (list []string) {
	var read int64
	err := n.Check(context.Background(), func(k int64) { read += k }, func(string) {}, func(f audit.Finding) {
		if f.Level != audit.Failure || f.Fix == "" {
			w.t.Errorf("a finding without a level or a fix: %+v", f)
		}
		list = append(list, f.Text)
	})
	if err != nil {
		w.t.Error(err)
	}
	if read != n.Work() {
		w.t.Errorf("read %d octets of %d", read, n.Work())
	}
	return list
}

// look returns what a deep check without a running spool finds, and sees to it
// that it changes nothing.
func (w *world) look(where string) []string {
	o, err := w.options()
	if err != nil {
		w.fatalf("%s: %v", where, err)
	}
	if o.Blobs, err = blob.OpenDirOn(blob.Frozen(w.fs), blobDir); err != nil {
		w.fatalf("%s: %v", where, err)
	}
	before := w.fs.Fingerprint() // options has made the directory
	n, report, err := Look(o)
	if err != nil {
		w.fatalf("%s: %v", where, err)
	}
	list := append(w.findings(n), report.Findings...)
	n.Close()
	if w.fs.Fingerprint() != before {
		w.fatalf("%s: a look has changed something", where)
	}
	return list
}

// same compares a snapshot with what was true at its moment.
func (w *world) unchanged(m *moment) {
	w.t.Helper()
	seen := 0
	err := m.n.Each(func(s *Message) error {
		tr, ok := m.truths[s.Envelope.ID]
		if !ok {
			w.t.Errorf("%v was not there", s.Envelope.ID)
			return nil
		}
		seen++
		f, err := s.Open()
		if err != nil {
			return err
		}
		defer f.Close()
		b := bytes.NewBuffer(s.Append(nil))
		if _, err := io.Copy(b, io.NewSectionReader(f, 0, f.Size())); err != nil {
			return err
		}
		got, err := snapshot.Read(b)
		if err != nil {
			return err
		}
		w.compare(&tr, got, b.Bytes())
		return nil
	})
	if err != nil || seen != len(m.truths) || seen != m.n.Len() {
		w.t.Errorf("saw %d messages of %d and %d: %v", seen, m.n.Len(), len(m.truths), err)
	}
}

func (w *world) compare(tr *truth, m *Message, body []byte) {
	e := m.Envelope
	if !bytes.Equal(body, tr.body) || m.Size != int64(len(body)) {
		w.t.Errorf("%v has another body", e.ID)
	}
	if e.From != tr.env.From || !bytes.Equal(e.Header, tr.env.Header) || len(e.Recipients) != len(tr.env.Recipients) ||
		!e.Received.Equal(tr.env.Received) || e.Account != tr.env.Account || e.Origin != tr.env.Origin || e.Unfit != tr.env.Unfit {
		w.t.Errorf("%v has another envelope: %+v", e.ID, e)
		return
	}
	for k, r := range e.Recipients {
		p := tr.states[k][0]
		if r.To != tr.env.Recipients[k].To || r.Via != tr.env.Recipients[k].Via || r.Status != p.status || r.Attempts != p.attempts || !r.Next.Equal(p.next) || r.Reason != p.reason {
			w.t.Errorf("%v, recipient %d: %+v, not %+v", e.ID, k, r, p)
		}
	}
	if p := tr.states[len(e.Recipients)][0]; e.Held != p.held || e.Delayed != p.delayed {
		w.t.Errorf("%v: held %v, delayed %v, not %+v", e.ID, e.Held, e.Delayed, p)
	}
}

// A snapshot is the spool of its moment, whole, however the spool goes on:
// what it holds is not freed. When it is closed, the disk is in its bound
// again.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 900+seed)
				w.mustOpen()
				var open []*moment
				for i := range 900 {
					w.step()
					if i%2 == 0 {
						w.still()
					}
					switch {
					case i%90 == 40:
						open = append(open, w.moment())
					case i%90 == 80 && len(open) > 1:
						w.still()
						m := open[w.rng.IntN(len(open))]
						open = slices.DeleteFunc(open, func(o *moment) bool { return o == m })
						w.unchanged(m)
						for _, f := range w.findings(m.n) {
							t.Errorf("step %d: found %s", i, f)
						}
						m.close()
					}
				}
				w.still()
				w.check("with snapshots")
				reclaimed := w.s.Counters.Reclaimed.Load()
				for _, m := range open {
					w.unchanged(m)
					m.close()
				}
				w.still()
				w.checkDisk()
				w.check("without snapshots")
				if w.s.Counters.Reclaimed.Load() == reclaimed || reclaimed == 0 {
					t.Errorf("reclaimed %d segments with snapshots, then %d", reclaimed, w.s.Counters.Reclaimed.Load())
				}
				if err := w.s.Close(); err != nil {
					t.Error(err)
				}
				for _, f := range w.look("closed") {
					t.Errorf("closed: %s", f)
				}
				w.mustOpen()
				w.check("opened again")
				w.s.Close()
			})
		})
	}
}

// What a snapshot says can be taken in by another spool: the same messages
// in the same state, also after a restart.
func TestRestore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 77)
		w.mustOpen()
		for range 300 {
			w.step()
		}
		w.still()
		m := w.moment()
		other := newWorld(t, 78)
		other.mustOpen()
		var damaged envelope.ID
		err := m.n.Each(func(s *Message) error {
			f, err := s.Open()
			if err != nil {
				return err
			}
			defer f.Close()
			got, err := snapshot.Read(bytes.NewReader(s.Append(nil)))
			if err != nil {
				return err
			}
			content := make([]byte, f.Size())
			if _, err := f.ReadAt(content, 0); err != nil && err != io.EOF {
				return err
			}
			if damaged.IsZero() && len(content) > 0 {
				damaged = s.Envelope.ID
				content[0]++
			}
			d := other.s.Create()
			if _, err := d.Write(content); err != nil {
				return err
			}
			return d.Restore(got)
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.s.Close(); err != nil {
			t.Error(err)
		}
		other.mustOpen()
		again := &moment{n: other.s.Snapshot(), truths: m.truths}
		if b, err := other.s.Body(damaged); err == nil {
			t.Errorf("what was damaged is good: %d octets", b.Size())
		}
		list := other.findings(again.n)
		if len(list) == 0 || !strings.Contains(strings.Join(list, "\n"), damaged.String()) {
			t.Errorf("what was damaged is not found: %q", list)
		}
		other.s.Change([]envelope.Change{{ID: damaged, Recipient: -1}}, nil)
		tr := again.truths[damaged]
		tr.body = slices.Clone(tr.body)
		tr.body[0]++
		again.truths[damaged] = tr
		other.unchanged(again)
		again.n.Close()
		m.close()
		other.s.Close()
		w.s.Close()
	})
}

// The spool knows its blobs from others', also while a message arrives or
// ends.
func TestOwns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.mustOpen()
		tr := w.commit(1, 2*testInline)
		if !w.s.Owns(tr.id) || w.s.Owns(envelope.ID{1}) {
			t.Error("the spool does not know what is its own")
		}
		w.change(tr, 0, promise{status: envelope.Delivered})
		w.still()
		if w.s.Owns(tr.id) {
			t.Error("the spool owns what has ended")
		}
		w.s.Close()
	})
}

// There is nothing wrong with a spool that was never there.
func TestLookAtNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	if list := w.look("new"); len(list) > 0 {
		t.Errorf("%q", list)
	}
}

func FuzzMessage(f *testing.F) {
	m := &Message{Size: 5, Sum: 7, Envelope: &envelope.Envelope{
		ID: envelope.ID{1, 2}, Received: time.Unix(1e9, 1).UTC(), From: addr.MustParse("a@example.org"), Header: []byte("X: y\r\n"),
		Recipients: []envelope.Recipient{{To: addr.MustParse("b@example.com"), Status: envelope.Deferred, Reason: "later"}},
	}}
	whole := m.Append(nil)
	f.Add(whole)
	f.Add(append(slices.Clone(whole), "body\n"...))
	f.Add(whole[:len(whole)-1])
	f.Add([]byte("GPspool3"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		m, err := snapshot.Read(r)
		if err != nil {
			return
		}
		again, err := snapshot.Read(bytes.NewReader(m.Append(nil)))
		if err != nil || again.Envelope.ID != m.Envelope.ID || again.Size != m.Size || len(again.Envelope.Recipients) != len(m.Envelope.Recipients) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
	})
}

// What is not an encoded message is refused, whatever it announces.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	m := &Message{Envelope: &envelope.Envelope{ID: envelope.ID{1}, Recipients: []envelope.Recipient{{To: addr.MustParse("b@example.com")}}}}
	good := m.Append(nil)
	edit := func(f func([]byte) []byte) []byte { return f(slices.Clone(good)) }
	done := *m.Envelope
	done.Recipients = []envelope.Recipient{{To: addr.MustParse("b@example.com"), Status: envelope.Delivered}}
	for name, b := range map[string][]byte{
		"nothing":      nil,
		"cut":          good[:len(good)-1],
		"flipped":      edit(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
		"no magic":     edit(func(b []byte) []byte { b[0] = 'x'; return b }),
		"newer":        edit(func(b []byte) []byte { b[7] = '3'; return b }),
		"older":        edit(func(b []byte) []byte { b[7] = '0'; return b }),
		"huge":         edit(func(b []byte) []byte { copy(b[8:], "\xff\xff\xff\xff"); return b }),
		"done already": (&Message{Envelope: &done}).Append(nil),
		"no id":        (&Message{Envelope: &envelope.Envelope{Recipients: m.Envelope.Recipients}}).Append(nil),
	} {
		if m, err := snapshot.Read(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: %+v", name, m)
		} else if name == "newer" && !strings.Contains(err.Error(), "newer") || name != "newer" && !errors.Is(err, snapshot.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
