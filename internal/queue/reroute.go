package queue

// Reroute sends what waits for other servers over the routes as they are
// now, at once: whoever changes a route does it for the mail that is stuck.
// Attempts under way end where they began; what they leave follows.
func (q *Queue) Reroute() {
	q.desk.Lock()
	defer q.desk.Unlock()
	q.mu.Lock()
	list := make([]*queued, 0, len(q.messages))
	for _, m := range q.messages {
		list = append(list, m)
	}
	q.mu.Unlock()
	for _, m := range list {
		q.reroute(m)
	}
}

// reroute does it for one message.
func (q *Queue) reroute(m *queued) {
	names := q.routes(m.env, nil)
	q.mu.Lock()
	first := false // the first attempt of all is over
	for j := m.jobs; j != nil; {
		next := j.sibling // new jobs come before it
		switch {
		case j.line.name.local || j.goesBy(names):
		case j.state == busy:
			j.stray = true
		default:
			first = q.tried(j) || first
			q.withdraw(j)
			for _, i := range j.recipients {
				q.jobOf(m, names[i], 0).join(i, j.attempts, 0)
			}
			q.end(j)
		}
		j = next
	}
	first = q.place(m) || first
	q.pump(&q.local)
	q.pump(&q.remote)
	q.mu.Unlock()
	if first {
		q.o.Spool.Release(m.env.ID)
	}
}

// goesBy reports whether a job stands in the line that its recipients should
// be in by names.
func (j *job) goesBy(names []lineName) bool {
	for _, i := range j.recipients {
		if names[i] != j.line.name {
			return false
		}
	}
	return true
}
