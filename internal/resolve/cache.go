package resolve

import (
	"container/list"
	"sync"
	"time"
)

// How long answers are kept, whatever their owners say.
const (
	minTTL      = 5 * time.Second // a zero TTL must not multiply our questions
	maxTTL      = 24 * time.Hour  // RFC 8767, section 4 advises a bound
	maxDenial   = time.Hour       // RFC 2308, section 5: one to three hours
	failureTTL  = 5 * time.Second // RFC 9520, section 3.2: at least a second
	entryCost   = 300             // octets of an entry beside its records
	recordCost  = 150             // octets of a record beside its data
	answerShare = 8               // no answer fills more than this part of the cache
)

// result is what a question came to: an answer or an error, and for how long
// that may be repeated. A ttl of zero is never kept.
type result struct {
	answer Answer
	err    error
	ttl    time.Duration
	size   int // octets on the wire
	// abandoned says that it was not the DNS that failed: whoever asked went
	// away, and somebody else who waits must ask again.
	abandoned bool
}

// cost is what it takes to keep r, in octets, roughly.
func (r *result) cost() int64 {
	return int64(entryCost + recordCost*len(r.answer.RRs) + r.size)
}

// cache keeps results until they expire, the least recently used ones going
// first when it is full, and lets one of several who ask the same wait for
// the others.
type cache struct {
	max int64 // octets

	mu      sync.Mutex
	entries map[question]*list.Element // of *entry
	recent  list.List                  // front: used last
	bytes   int64
	flights map[question]*flight
}

type entry struct {
	question
	result
	expires time.Time
}

// flight is a question that somebody is asking right now.
type flight struct {
	done chan struct{} // closed once result is there
	result
}

func newCache(max int64) *cache {
	return &cache{max: max, entries: map[question]*list.Element{}, flights: map[question]*flight{}}
}

// get returns the result kept for q. When there is none it returns the
// flight that is after it; leads is true for the one caller that must ask
// and call land.
func (c *cache) get(q question, now time.Time) (r result, f *flight, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[q]; ok {
		if kept := e.Value.(*entry); now.Before(kept.expires) {
			c.recent.MoveToFront(e)
			return kept.result, nil, false
		}
		c.remove(e)
	}
	if f, ok := c.flights[q]; ok {
		return result{}, f, false
	}
	f = &flight{done: make(chan struct{})}
	c.flights[q] = f
	return result{}, f, true
}

// land keeps what a flight brought and wakes those who wait for it.
func (c *cache) land(q question, f *flight, r result, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, q)
	f.result = r
	close(f.done)
	if r.ttl == 0 || r.cost() > c.max/answerShare {
		return
	}
	c.entries[q] = c.recent.PushFront(&entry{q, r, now.Add(r.ttl)})
	c.bytes += r.cost()
	for c.bytes > c.max {
		c.remove(c.recent.Back())
	}
}

// remove forgets e; c.mu is held.
func (c *cache) remove(e *list.Element) {
	kept := c.recent.Remove(e).(*entry)
	delete(c.entries, kept.question)
	c.bytes -= kept.cost()
}

// clear forgets everything; flights land as they are.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.recent.Init()
	c.bytes = 0
}
