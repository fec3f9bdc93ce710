package queue

import (
	"errors"
	"maps"
	"slices"

	"gatepost/internal/envelope"
)

// ErrFrozen says that a message waits for its account.
var ErrFrozen = errors.New("the account that sent the message is frozen; release the account instead")

// Freeze keeps back what an account has sent, and what it still hands over,
// until Thaw. An attempt under way goes on: the other side may have taken the
// message already. What it leaves is kept back then.
//
// None of this is durable. Whoever knows which accounts are frozen says so
// again after a restart, before the spool offers anything.
func (q *Queue) Freeze(account string) {
	q.desk.Lock()
	defer q.desk.Unlock()
	q.mu.Lock()
	q.frozen[account] = true
	var untried []envelope.ID
	for id, m := range q.messages {
		if m.env.Account == account && m.freeze(q) {
			untried = append(untried, id)
		}
	}
	for _, l := range q.lines {
		l.thin()
	}
	q.mu.Unlock()
	for _, id := range untried { // nobody will read these bodies soon
		q.o.Spool.Release(id)
	}
}

// freeze keeps a message back, but for its jobs that are ready, which stay in
// their lines until thin. It reports whether the first attempt of all is over
// by that.
func (m *queued) freeze(q *Queue) (last bool) {
	m.frozen = true
	for j := m.jobs; j != nil; j = j.sibling {
		if j.state == busy {
			continue
		}
		if j.state == waiting {
			q.withdraw(j)
			j.state = parked
		}
		last = q.tried(j) || last
	}
	q.setAge(m, 0)
	return last
}

// thin parks the ready jobs of messages that are frozen, in one walk: an
// account that somebody broke into may have very many in one line.
func (l *line) thin() {
	var last *job
	for at := &l.head; *at != nil; {
		j := *at
		if !j.of.frozen {
			last, at = j, &j.next
			continue
		}
		*at, j.next, j.state = j.next, nil, parked
	}
	l.tail = last
	l.update()
}

// Thaw ends Freeze: what was kept back for it alone goes on as it would have.
func (q *Queue) Thaw(account string) {
	q.desk.Lock()
	defer q.desk.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.thaw(account) {
		for j := m.jobs; j != nil; j = j.sibling {
			if j.state == parked {
				j.afresh = true
				q.admit(j)
			}
		}
		q.setAge(m, 0)
	}
	q.pump(&q.local)
	q.pump(&q.remote)
}

// thaw unmarks an account and its messages, and returns these in the order in
// which they came.
func (q *Queue) thaw(account string) (list []*queued) {
	delete(q.frozen, account)
	for _, m := range q.messages {
		if m.frozen && m.env.Account == account {
			m.frozen = false
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *queued) int { return slices.Compare(a.env.ID[:], b.env.ID[:]) })
	return list
}

// Orphan is for an account that was removed while it was frozen: what was
// kept back for it is held like anything else, until an operator releases or
// drops it.
func (q *Queue) Orphan(account string) {
	q.desk.Lock()
	defer q.desk.Unlock()
	q.mu.Lock()
	var marks []envelope.Change
	for _, m := range q.thaw(account) {
		m.held = true
		marks = append(marks, envelope.Change{ID: m.env.ID, Recipient: -1, Held: true, Delayed: m.delayed})
	}
	q.mu.Unlock()
	if len(marks) > 0 {
		q.o.Spool.Change(marks, nil)
	}
}

// Of returns how many messages of an account wait, and to how many of these
// somebody is being delivered just now.
func (q *Queue) Of(account string) (waiting, busy int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, m := range q.messages {
		if m.env.Account != account || m.jobs == nil {
			continue
		}
		waiting++
		if m.busy() {
			busy++
		}
	}
	return waiting, busy
}

func (m *queued) busy() bool {
	for j := m.jobs; j != nil; j = j.sibling {
		if j.state == busy {
			return true
		}
	}
	return false
}

// stopped reports whether nothing of a message is to be attempted.
func (m *queued) stopped() bool { return m.held || m.frozen }

// frozenNow returns the accounts that are frozen.
func (q *Queue) frozenNow() map[string]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.frozen)
}
