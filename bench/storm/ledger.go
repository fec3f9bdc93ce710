package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ledger knows what was promised for each message and what became of it.
type ledger struct {
	acks   atomic.Int64
	queued map[string][]string // at the end, by id: who is still to get it

	mu      sync.Mutex
	entries map[string]*entry // by token
	replies map[string]int    // refusals, by their first words
	damage  []string
	strange []string
}

// entry is one message.
type entry struct {
	to        []string
	id        string // that the server gave it
	state     state
	at        time.Time      // of a refusal
	arrived   map[string]int // by recipient: copies filed or relayed
	bounced   map[string]int // by recipient: bounces
	forbidden map[string]int // by recipient: refusals for good
}

// state is what the client knows of a message.
type state int

const (
	open         state = iota // being sent
	acknowledged              // 250
	refused                   // anything else, or cut off before its end
	doubtful                  // refused, and the server killed soon after
	unanswered                // cut off before the answer
)

func newLedger() *ledger {
	return &ledger{entries: map[string]*entry{}, replies: map[string]int{}}
}

func (l *ledger) sends(token string, to []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[token] = &entry{to: to, arrived: map[string]int{}, bounced: map[string]int{}, forbidden: map[string]int{}}
}

func (l *ledger) acknowledges(token, reply string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, id, _ := strings.Cut(reply, "queued as ")
	l.entries[token].state, l.entries[token].id = acknowledged, id
	l.acks.Add(1)
}

// refused notes a refusal; reply is empty if there was none, and the server
// cannot have got all of the message.
func (l *ledger) refused(token, reply string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[token]
	e.state, e.at = refused, time.Now()
	l.replies[first(reply)]++
}

// killed notes a kill. A message that was refused because it could not be
// synced may be in the log all the same, and when nothing can be written, then
// neither can it be written that the message is void. After a kill it may
// arrive, whole.
func (l *ledger) killed() {
	const soon = 6 * time.Second // longer than any fault lasts
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.state == refused && time.Since(e.at) < soon {
			e.state = doubtful
		}
	}
}

func (l *ledger) unanswered(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[token].state = unanswered
}

// first returns the words of a reply that say what kind it is.
func first(reply string) string {
	if reply == "" {
		return "cut off"
	}
	words := strings.Fields(reply)
	return strings.Join(words[:min(2, len(words))], " ")
}

// of returns the entry of an address elsewhere, which begins with its token.
func (l *ledger) of(to string) *entry {
	token, _, _ := strings.Cut(to, "@")
	e := l.entries[token]
	if e == nil || !slices.Contains(e.to, to) {
		l.strange = append(l.strange, to+" was never written to")
		return nil
	}
	return e
}

// relayed notes what a hop has got.
func (l *ledger) relayed(to, content string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.of(to); e != nil {
		token, _, _ := strings.Cut(to, "@")
		l.arrived(e, to, token, content)
	}
}

// refuses notes that a hop does not want a message.
func (l *ledger) refuses(to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.of(to); e != nil {
		e.forbidden[to]++
	}
}

// filed notes what is in a mailbox.
func (l *ledger) filed(box, content string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if box == sender {
		failed := failedOf(content)
		for _, to := range failed {
			if e := l.of(to); e != nil {
				e.bounced[to]++
			}
		}
		if len(failed) == 0 {
			l.strange = append(l.strange, fmt.Sprintf("%s got %.300q", box, content))
		}
		return
	}
	token, _ := tokenOf(content)
	e := l.entries[token]
	if e == nil || !slices.Contains(e.to, box) {
		l.strange = append(l.strange, fmt.Sprintf("%s got %.300q", box, content))
		return
	}
	l.arrived(e, box, token, content)
}

func (l *ledger) arrived(e *entry, to, token, content string) {
	e.arrived[to]++
	if found, whole := tokenOf(content); found != token || !whole {
		l.damage = append(l.damage, fmt.Sprintf("%s has %s damaged, with %d octets", to, token, len(content)))
	}
}

// sums are the lines of the ledger.
type sums struct {
	messages, recipients int // acknowledged
	filed, relayed       int // recipients that got it, at least once
	bounced, queued      int
	refused, unanswered  int // messages
	revived, whole       int // of those: arrived all the same
	lost, twice, again   []string
}

// balance adds up. A recipient of an acknowledged message that neither got it
// nor a bounce, and that is not in the queue, is lost.
func (l *ledger) balance() (s sums) {
	unknown := l.unknown()
	for _, token := range slices.Sorted(maps.Keys(l.entries)) {
		e := l.entries[token]
		settled := 0
		for _, to := range e.to {
			local := slices.Contains(boxes, to)
			waits := slices.Contains(l.queued[e.id], to) || e.state >= doubtful && unknown[to] > 0
			got, told := e.arrived[to], e.bounced[to]
			name := fmt.Sprintf("%s (%s) for %s: %d copies, %d bounces", token, e.id, to, got, told)
			if local && got > 1 || told > 1 {
				s.twice = append(s.twice, name)
			} else if got > 1 {
				s.again = append(s.again, name)
			}
			if told > 0 && e.forbidden[to] == 0 {
				l.strange = append(l.strange, name+", and nobody refused it")
			}
			switch {
			case got > 0 && local:
				s.filed++
			case got > 0:
				s.relayed++
			case told > 0:
				s.bounced++
			case waits:
				s.queued++
			default:
				if e.state == acknowledged {
					s.lost = append(s.lost, name)
				}
				continue
			}
			settled++
		}
		l.judge(&s, token, e, settled)
	}
	return s
}

// unknown counts, by recipient, what is queued of which no client knows the
// id.
func (l *ledger) unknown() map[string]int {
	ids := map[string]bool{}
	for _, e := range l.entries {
		ids[e.id] = true
	}
	count := map[string]int{}
	for id, list := range l.queued {
		if !ids[id] {
			for _, to := range list {
				count[to]++
			}
		}
	}
	return count
}

// judge adds a message to those of its kind. One that was not acknowledged is
// there for all of its recipients or for none; one that was refused for none.
func (l *ledger) judge(s *sums, token string, e *entry, settled int) {
	switch e.state {
	case acknowledged:
		s.messages++
		s.recipients += len(e.to)
	case refused:
		s.refused++
		if settled > 0 {
			l.strange = append(l.strange, token+" was refused, and arrived")
		}
	default:
		n, all := &s.whole, &s.unanswered
		if e.state == doubtful {
			n, all = &s.revived, &s.refused
		}
		*all++
		if settled > 0 {
			*n++
		}
		if settled > 0 && settled < len(e.to) {
			s.lost = append(s.lost, token+", never acknowledged, arrived for some of its recipients only")
		}
	}
}

// print prints the ledger and reports whether it is as it must be.
func (l *ledger) print() bool {
	s := l.balance()
	line := func(name string, n int, format string, args ...any) {
		fmt.Printf("%-14s %8d %s\n", name, n, fmt.Sprintf(format, args...))
	}
	line("acknowledged", s.messages, "messages, for %d recipients", s.recipients)
	line("delivered", s.filed+s.relayed, "recipients: %d in mailboxes, %d to the next hops", s.filed, s.relayed)
	line("bounced", s.bounced, "recipients that a next hop refused")
	line("queued", s.queued, "recipients")
	line("refused", s.refused, "messages: %s; %d arrived after a kill", l.refusals(), s.revived)
	line("unanswered", s.unanswered, "messages cut off before the answer, of which %d arrived whole", s.whole)
	line("sent again", len(s.again), "recipients at a next hop got a second copy")
	line("filed twice", len(s.twice), "")
	line("strange", len(l.strange), "")
	line("damaged", len(l.damage), "")
	line("lost", len(s.lost), "")
	faults := slices.Concat(s.lost, l.damage, s.twice, l.strange)
	for _, fault := range faults[:min(10, len(faults))] {
		fmt.Println("  !", fault)
	}
	return len(faults) == 0 && s.messages > 0
}

func (l *ledger) refusals() string {
	var list []string
	for _, reply := range slices.Sorted(maps.Keys(l.replies)) {
		list = append(list, fmt.Sprintf("%d × %s", l.replies[reply], reply))
	}
	return strings.Join(list, ", ")
}
