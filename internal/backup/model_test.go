package backup

import (
	"bytes"
	"context"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatepost/internal/envelope"
	"gatepost/internal/queue"
)

// post is what was sent and acknowledged.
type post struct {
	mu    sync.Mutex
	sent  map[string]*mail // by token
	acked []string         // tokens
}

type mail struct {
	size int
	to   []string
}

func (p *post) acks(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked = append(p.acked, token)
}

func (p *post) sends(token string, m *mail) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent[token] = m
}

func (p *post) now() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.acked)
}

// busy sends until ctx ends: small and large, to our mailboxes, to another
// server, and to somebody who is not there, which bounces.
func (s *server) busy(ctx context.Context, p *post, client int) {
	r := mathrand.New(mathrand.NewPCG(uint64(client), 7))
	for i := 0; ctx.Err() == nil; i++ {
		token := fmt.Sprintf("t%d.%d", client, i)
		var to []string
		for id := range volatile {
			if r.IntN(2) == 0 {
				to = append(to, fmt.Sprintf("user%d@example.org", id+1))
			}
		}
		if r.IntN(3) == 0 || len(to) == 0 {
			to = append(to, token+"@remote.example")
		}
		if r.IntN(4) == 0 {
			to = append(to, "nobody@example.org")
		}
		size := 300
		switch r.IntN(20) {
		case 0:
			size = 200 << 10 // a file of the spool, linked by the mailboxes
		case 1, 2:
			size = 50 << 10
		}
		// Much is to move, and little to wait.
		await(s.t, "nothing is delivered", func() bool { return s.spool.Counters.Live.Load() < 60 })
		p.sends(token, &mail{size, to})
		if err := s.send(token, size, to...); err != nil {
			s.t.Error(err)
			return
		}
		p.acks(token)
	}
}

// taken is a backup, and what was acknowledged before it began.
type taken struct {
	b      []byte
	before []string
	m      *Manifest
}

// Backups are taken while messages come, are delivered, bounce, and are
// removed. Each is brought up, and let go: everything that was acknowledged
// before it began is in each of its mailboxes then, whole and once, and went
// to the other server at least once; its failures were told once; and what
// came later is there once or not at all.
func TestBackupOfABusyServer(t *testing.T) {
	t.Parallel()
	s := install(t)
	s.queue.Start()
	p := &post{sent: map[string]*mail{}}
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	for client := range 4 {
		working.Go(func() { s.busy(ctx, p, client) })
	}
	var removed atomic.Int64
	working.Go(func() {
		for ctx.Err() == nil {
			if err := s.boxes.Remove(context.Background(), volatile); err != nil {
				t.Error(err)
			}
			removed.Add(1)
		}
	})
	var backups []taken
	const rounds = 3
	for round := range rounds {
		want := len(p.now()) + 40
		await(t, "nothing is acknowledged", func() bool { return len(p.now()) >= want || t.Failed() })
		before := p.now()
		job, err := s.source().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 {
			// Much may happen between the beginning and the end.
			want := len(p.now()) + 60
			await(t, "nothing is acknowledged", func() bool { return len(p.now()) >= want || t.Failed() })
		}
		b, m := s.finish(job)
		if m.Damaged > 0 {
			t.Errorf("damaged: %q", m.Damage)
		}
		for _, f := range s.findings() {
			t.Errorf("a check of the busy server: %s", f)
		}
		backups = append(backups, taken{b, before, m})
	}
	stop()
	working.Wait()
	s.settle()
	validities := s.validities()
	s.close()
	var queued int64
	for i := range backups {
		queued += backups[i].m.Queued
		s.comesBack(&backups[i], p, validities)
	}
	t.Logf("%d messages, %d removals, %d of them in the queues of %d backups", len(p.acked), removed.Load(), queued, rounds)
	if queued == 0 {
		t.Error("no backup had a message on its way")
	}
}

// validities returns the UIDVALIDITY of every folder that stays, by account
// and name.
func (s *server) validities() map[string]uint32 {
	s.t.Helper()
	list := map[string]uint32{}
	for id := range int64(people) {
		folders, err := s.boxes.Folders(s.t.Context(), id+1)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, f := range folders {
			list[fmt.Sprint(id+1, f.Name)] = f.UIDValidity
		}
	}
	return list
}

// comesBack brings up a backup of s and looks at it.
func (s *server) comesBack(k *taken, p *post, validities map[string]uint32) {
	t := s.t
	t.Helper()
	if _, err := Verify(t.Context(), bytes.NewReader(k.b), func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	dir, r := restored(t, k.b)
	n := openServer(t, dir)
	defer n.close()
	n.sink = s.sink // the world is the same
	for _, f := range n.findings() {
		t.Errorf("after the restore: %s", f)
	}
	for name, v := range n.validities() {
		if old, ok := validities[name]; ok && v <= old {
			t.Errorf("folder %s has UIDVALIDITY %d, and had %d", name, v, old)
		}
	}
	held := 0
	n.spool.Each(func(e *envelope.Envelope) bool {
		if e.Held {
			held++
		}
		return true
	})
	if int64(held) != k.m.Queued || r.Queued != k.m.Queued {
		t.Errorf("%d messages are held, %d were queued", held, k.m.Queued)
	}
	count := len(n.mail(1))
	n.queue.Start()
	if len(n.queue.List(queue.Filter{Held: true})) != held || len(n.mail(1)) != count {
		t.Error("something was delivered before it was released")
	}
	if got := n.queue.ReleaseAll(); got != held {
		t.Errorf("released %d of %d", got, held)
	}
	n.settle()
	n.judge(k, p)
	for _, f := range n.findings() {
		t.Errorf("after the release: %s", f)
	}
}

// judge counts what is where once everything is delivered.
func (s *server) judge(k *taken, p *post) {
	t := s.t
	t.Helper()
	had := map[string]bool{}
	for _, token := range k.before {
		had[token] = true
	}
	arrived := map[string]int{} // by token and mailbox
	bounced := map[string]int{} // by token
	for id := range int64(people) {
		for _, text := range s.mail(id + 1) {
			_, rest, _ := strings.Cut(text, "\r\nSubject: ")
			token, _, _ := strings.Cut(rest, "\r\n")
			if m := p.sent[token]; m != nil {
				if !strings.HasSuffix(text, "\r\n"+string(letter(token, m.size))) {
					t.Errorf("%s is damaged", token)
				}
				arrived[fmt.Sprintf("%s user%d@example.org", token, id+1)]++
				continue
			}
			_, rest, _ = strings.Cut(text, "\nSubject: t")
			token, _, _ = strings.Cut("t"+rest, "\r\n")
			if p.sent[token] == nil {
				t.Errorf("a message that nobody sent: %.300q", text)
			}
			bounced[token]++
		}
	}
	for token, m := range p.sent {
		for _, a := range m.to {
			n := arrived[token+" "+a]
			switch {
			case a == "nobody@example.org":
				n = bounced[token]
			case strings.HasSuffix(a, "@remote.example"):
				if had[token] && s.sink.took(token) == 0 {
					t.Errorf("%s never left", token)
				}
				continue
			case a == fmt.Sprintf("user%d@example.org", volatile):
				continue
			}
			if n > 1 || had[token] && n != 1 {
				t.Errorf("%s is there %d times for %s; acknowledged before: %v", token, n, a, had[token])
			}
		}
	}
}
