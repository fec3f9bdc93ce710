package queue

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"gatepost/internal/envelope"
)

// machine does what operators, servers, disks and clients do, in any order.
// The fakes watch all the while: no recipient is attempted twice at the same
// time, and no final state changes.
type machine struct {
	*world
	ids       []envelope.ID
	delivered map[string]bool
}

// destinations of the machine; the last two are ours.
var destinations = []string{"a.example", "b.example", "c.example", "one.smart.example", "home.example", "two.home.example"}

func (m *machine) deliverer(d string) *deliverer {
	if d == "home.example" || d == "two.home.example" {
		return m.local
	}
	return m.remote
}

func (m *machine) send(t *rapid.T) {
	var to []string
	for i := range rapid.IntRange(1, 6).Draw(t, "recipients") {
		to = append(to, fmt.Sprintf("r%d@%s", i, rapid.SampledFrom(destinations).Draw(t, "destination")))
	}
	e := mail(to...)
	e.Origin = rapid.SampledFrom([]envelope.Origin{envelope.User, envelope.Remote}).Draw(t, "origin")
	e.Held = rapid.IntRange(0, 9).Draw(t, "held") == 0
	for i := range e.Recipients {
		e.Recipients[i].Notify = rapid.SampledFrom([]envelope.Notify{0, envelope.NotifyNever, envelope.NotifySuccess}).Draw(t, "notify")
	}
	if m.spool.commit(e, []byte(content)) == nil { // a full spool takes none
		m.ids = append(m.ids, e.ID)
	}
}

// answer changes how a destination answers, for each recipient by chance.
func (m *machine) answer(t *rapid.T) {
	d := rapid.SampledFrom([]string{"a.example", "b.example", "c.example", "route:smart", "route:new", "home.example", "two.home.example"}).Draw(t, "destination")
	list := rapid.SliceOfN(rapid.SampledFrom([]envelope.Outcome{refused, greylist, noAnswer, relayed, delivered}), 1, 3).Draw(t, "outcomes")
	after := rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Minute}).Draw(t, "after")
	m.deliverer(d).script(d, m.noting(func(i int) envelope.Outcome { return list[i%len(list)] }, after))
}

// noting answers and remembers who got the message: to attempt them again
// would deliver it twice.
func (m *machine) noting(answer func(i int) envelope.Outcome, after time.Duration) func(*envelope.Attempt) []envelope.Outcome {
	return func(a *envelope.Attempt) (list []envelope.Outcome) {
		time.Sleep(after)
		m.spool.mu.Lock()
		defer m.spool.mu.Unlock()
		for _, i := range a.Recipients {
			o := answer(i)
			key := fmt.Sprint(a.Envelope.ID, i)
			if m.delivered[key] {
				m.t.Errorf("%s gets a message twice", a.Envelope.Recipients[i].To)
			}
			m.delivered[key] = o.Status == envelope.Delivered || o.Status == envelope.Relayed
			list = append(list, o)
		}
		return list
	}
}

func (m *machine) any(t *rapid.T) envelope.ID {
	if len(m.ids) == 0 {
		t.Skip("no message yet")
	}
	return rapid.SampledFrom(m.ids).Draw(t, "id")
}

func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"send":   m.send,
		"send 2": m.send,
		"answer": m.answer,
		"pass": func(t *rapid.T) {
			m.pass(rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, time.Hour, 10 * time.Hour, 48 * time.Hour}).Draw(t, "time"))
		},
		"hold":      func(t *rapid.T) { _ = m.q.Hold(m.any(t)) },
		"release":   func(t *rapid.T) { _ = m.q.Release(m.any(t)) },
		"retry":     func(t *rapid.T) { _ = m.q.Retry(m.any(t)) },
		"retry all": func(t *rapid.T) { m.q.RetryDestination("") },
		"reroute": func(t *rapid.T) {
			m.router.smart.Store(rapid.SampledFrom([]string{"route:smart", "route:new", "a.example"}).Draw(t, "route"))
			m.q.Reroute()
		},
		"drop": func(t *rapid.T) {
			id := m.any(t)
			m.spool.mu.Lock()
			to := m.spool.messages[id].env.Recipients[0].To
			m.spool.mu.Unlock()
			_ = m.q.Drop(id, to)
		},
		"list":    func(*rapid.T) { m.q.List(Filter{}); m.q.Depth() },
		"restart": func(t *rapid.T) { m.restart(rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "off")) },
		"full": func(t *rapid.T) {
			m.spool.mu.Lock()
			defer m.spool.mu.Unlock()
			m.spool.full = rapid.Bool().Draw(t, "full")
		},
		"": func(t *rapid.T) { m.check(t) },
	}
}

// check holds the memory structures against each other and the spool.
func (m *machine) check(t *rapid.T) {
	synctest.Wait()
	q := m.q
	q.mu.Lock()
	defer q.mu.Unlock()
	running := map[*line]int{}
	for _, msg := range q.messages {
		for j := msg.jobs; j != nil; j = j.sibling {
			if len(j.recipients) == 0 || j.of != msg {
				t.Fatalf("job of %d recipients", len(j.recipients))
			}
			if (j.state == waiting) != j.due.Set() {
				t.Fatalf("state %d, alarm set: %v", j.state, j.due.Set())
			}
			if j.state == busy {
				running[j.line]++
			}
			if msg.held != (j.state == parked) && j.state != busy {
				t.Fatalf("held is %v, state %d", msg.held, j.state)
			}
			if inLine := slices.Contains(jobsIn(j.line), j); inLine != (j.state == ready) {
				t.Fatalf("state %d, in line: %v", j.state, inLine)
			}
		}
	}
	idle := 0
	for _, l := range q.lines {
		if l.jobs == 0 {
			idle++
		}
		if l.slots.Running() != running[l] || l.slots.Idle != (l.head == nil || l.held()) {
			t.Fatalf("line %v: %d slots for %d busy jobs, idle %v", l.name, l.slots.Running(), running[l], l.slots.Idle)
		}
	}
	if idle != q.idle {
		t.Fatalf("%d lines are idle, counted %d", idle, q.idle)
	}
}

func jobsIn(l *line) (list []*job) {
	for j := l.head; j != nil; j = j.next {
		list = append(list, j)
	}
	return list
}

// finish makes everything go well from now on: nobody may be left over.
func (m *machine) finish(t *rapid.T) {
	m.spool.mu.Lock()
	m.spool.full = false
	m.spool.mu.Unlock()
	for _, d := range append(destinations, "route:smart", "route:new") {
		m.deliverer(d).script(d, m.noting(func(int) envelope.Outcome { return delivered }, 0))
	}
	m.pass(2 * time.Minute)
	m.q.ReleaseAll()
	m.q.RetryDestination("")
	m.pass(again + 5*time.Hour)
	for _, id := range m.ids {
		for i := range m.spool.messages[id].env.Recipients {
			r := m.spool.state(id, i)
			if !r.Status.Final() && r.Status != envelope.Kept {
				t.Fatalf("%s of %s is left: %s %q, next %v; %+v", r.To, id, r.Status, r.Reason, r.Next, m.q.List(Filter{}))
			}
			if m.delivered[fmt.Sprint(id, i)] != (r.Status == envelope.Delivered || r.Status == envelope.Relayed) {
				t.Fatalf("%s of %s is %s", r.To, id, r.Status)
			}
		}
	}
	m.pass(m.o.KeptFor)
	m.check(t)
	m.q.Stop(m.t.(*testing.T).Context())
	if n := len(m.q.messages) + len(m.q.kept) + len(m.q.doomed); n > 0 {
		t.Fatalf("%d entries are left", n)
	}
}

func TestMachine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var failure any // rapid reports by panicking, which must not cross the bubble
		synctest.Test(t, func(t *testing.T) {
			m := &machine{world: newWorld(t), delivered: map[string]bool{}}
			defer func() {
				if failure = recover(); failure != nil {
					m.q.Stop(t.Context())
				}
			}()
			m.o.PerDestination, m.o.RemoteWorkers, m.o.LocalWorkers = 2, 4, 2
			for _, d := range append(destinations, "route:smart", "route:new") {
				m.deliverer(d).script(d, m.noting(func(int) envelope.Outcome { return delivered }, 0))
			}
			m.start()
			rt.Repeat(m.actions())
			m.finish(rt)
		})
		if failure != nil {
			panic(failure)
		}
	})
}
