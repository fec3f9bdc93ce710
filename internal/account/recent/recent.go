// Package recent is a bounded map that keeps what was used lately.
package recent

// Map holds two generations of half its size: what is used moves to the
// young one, and when that is full the old one is dropped. Every operation
// takes the same time however full it is, and nothing is kept of the order of
// use. It is not safe for concurrent use: a reading moves things too.
type Map[K comparable, V any] struct {
	size       int
	young, old map[K]V
}

// New returns a map of at most size entries.
func New[K comparable, V any](size int) Map[K, V] { return Map[K, V]{size: size} }

// Get returns the value of k.
func (m *Map[K, V]) Get(k K) (V, bool) {
	if v, ok := m.young[k]; ok {
		return v, true
	}
	v, ok := m.old[k]
	if ok {
		m.Put(k, v)
	}
	return v, ok
}

// Put sets the value of k.
func (m *Map[K, V]) Put(k K, v V) {
	if _, there := m.young[k]; !there && len(m.young) >= m.size/2 {
		m.old, m.young = m.young, nil
	}
	if m.young == nil {
		m.young = map[K]V{}
	}
	m.young[k] = v
	delete(m.old, k) // else what it was would come back when v is removed
}

// Remove forgets every value of which drop says so.
func (m *Map[K, V]) Remove(drop func(V) bool) {
	for _, g := range []map[K]V{m.young, m.old} {
		for k, v := range g {
			if drop(v) {
				delete(g, k)
			}
		}
	}
}

// Clear forgets everything.
func (m *Map[K, V]) Clear() { m.young, m.old = nil, nil }

// Len returns how many entries there are.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }
