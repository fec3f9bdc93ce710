package alarm

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type sleeper struct{ a Alarm }

func (s *sleeper) Alarm() *Alarm { return &s.a }

// Against a plain list: whatever is set, set anew and cleared, alarms go off
// in the order of their times and no other ones do.
func TestHeap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var h Heap[*sleeper]
		all := make([]sleeper, 20)
		model := map[*sleeper]time.Duration{}
		pick := func(t *rapid.T) *sleeper { return &all[rapid.IntRange(0, len(all)-1).Draw(t, "which")] }
		earliest := func() (at time.Duration) {
			at = 1 << 60
			for _, d := range model {
				at = min(at, d)
			}
			return at
		}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				s, at := pick(t), time.Duration(rapid.IntRange(0, 50).Draw(t, "at"))
				h.Set(s, at)
				model[s] = at
			},
			"clear": func(t *rapid.T) {
				s := pick(t)
				h.Clear(s)
				delete(model, s)
			},
			"due": func(t *rapid.T) {
				now := time.Duration(rapid.IntRange(0, 50).Draw(t, "now"))
				s, ok := h.Due(now)
				if ok != (len(model) > 0 && earliest() <= now) {
					t.Fatalf("due at %d: %v, the earliest is at %d", now, ok, earliest())
				}
				if ok && model[s] != earliest() {
					t.Fatalf("%d goes off before %d", model[s], earliest())
				}
				delete(model, s)
			},
			"": func(t *rapid.T) {
				for i := range all {
					if _, set := model[&all[i]]; set != all[i].a.Set() {
						t.Fatalf("alarm %d: set is %v", i, !set)
					}
				}
				if at, ok := h.Next(); ok != (len(model) > 0) || ok && at != earliest() {
					t.Fatalf("next is %d, %v", at, ok)
				}
			},
		})
		var order []time.Duration
		for s, ok := h.Due(1 << 60); ok; s, ok = h.Due(1 << 60) {
			order = append(order, model[s])
		}
		if len(order) != len(model) || !slices.IsSorted(order) {
			t.Fatalf("%v for %d alarms", order, len(model))
		}
	})
}
