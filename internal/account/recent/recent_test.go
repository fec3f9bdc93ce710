package recent

import (
	"testing"

	"pgregory.net/rapid"
)

// Whatever is done to it, the map never returns a value that was replaced or
// removed, stays within its size, and keeps what was used lately.
func TestMap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(2, 20).Draw(t, "size")
		m := New[int, int](size)
		model := map[int]int{}
		var order []int // the keys last used, the newest last
		use := func(k int) {
			for i, o := range order {
				if o == k {
					order = append(order[:i:i], order[i+1:]...)
					break
				}
			}
			order = append(order, k)
		}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			k := rapid.IntRange(0, 30).Draw(t, "key")
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				m.Remove(func(v int) bool { return v%3 == 0 })
				for k, v := range model {
					if v%3 == 0 {
						delete(model, k)
					}
				}
			case 1:
				m.Clear()
				clear(model)
			case 2, 3, 4:
				if v, ok := m.Get(k); ok && v != model[k] {
					t.Fatalf("Get(%d) = %d, but it is %d", k, v, model[k])
				} else if ok {
					if _, there := model[k]; !there {
						t.Fatalf("Get(%d) returned what was removed", k)
					}
					use(k)
				}
			default:
				v := rapid.IntRange(0, 1000).Draw(t, "value")
				m.Put(k, v)
				model[k] = v
				use(k)
			}
			if m.Len() > size {
				t.Fatalf("%d entries in a map of %d", m.Len(), size)
			}
		}
		// The last size/2 that were used are still there, if not removed.
		for i := len(order) - 1; i >= max(0, len(order)-size/2); i-- {
			want, there := model[order[i]]
			if got, ok := m.Get(order[i]); there && (!ok || got != want) {
				t.Fatalf("%d was used lately, but is gone", order[i])
			}
		}
	})
}
