package slot

import (
	"testing"

	"pgregory.net/rapid"
)

func TestTurns(t *testing.T) {
	t.Parallel()
	p := Pool[string]{Max: 4, Chill: 4, Spare: 4}
	for _, name := range []string{"a", "b", "c"} {
		p.Update(&Line[string]{Of: name, Window: 9})
	}
	got := ""
	for l, _, ok := p.Take(); ok; l, _, ok = p.Take() {
		got += l.Of
	}
	if got != "abca" {
		t.Errorf("turns: %q", got)
	}
}

// A line that had nothing to do does not wait for all those that have long
// had too much, nor do they wait for ever.
func TestFresh(t *testing.T) {
	t.Parallel()
	p := Pool[string]{Max: 1, Chill: 1, Spare: 1}
	long := map[string]*Line[string]{}
	for _, name := range []string{"a", "b", "c", "d"} {
		long[name] = &Line[string]{Of: name, Window: 1}
		p.Update(long[name])
	}
	single := &Line[string]{Of: "x", Window: 1, Idle: true}
	p.Update(single)
	got := ""
	for range 6 {
		l, s, ok := p.Take()
		if !ok {
			t.Fatal("no slot")
		}
		got += l.Of
		single.Idle = l == single // has a message again as soon as another has had a turn
		p.Update(single)
		p.Free(l, s)
	}
	if got != "axbxcx" {
		t.Errorf("turns: %q", got)
	}
}

// The bounds hold whatever lines do, and no slot stays free that a line may
// have.
func TestBounds(t *testing.T) {
	t.Parallel()
	type held struct {
		l *Line[int]
		s Slot
	}
	rapid.Check(t, func(t *rapid.T) {
		p := Pool[int]{Max: 8, Chill: 6, Spare: 4}
		lines := make([]Line[int], 10)
		for i := range lines {
			lines[i] = Line[int]{Of: i, Idle: true, Window: 1, Cold: true}
		}
		var slots []held
		cold := 0
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				l := &lines[rapid.IntRange(0, len(lines)-1).Draw(t, "line")]
				l.Idle, l.Cold, l.Window = rapid.Bool().Draw(t, "idle"), rapid.Bool().Draw(t, "cold"), rapid.IntRange(1, 3).Draw(t, "window")
				p.Update(l)
			},
			"take": func(t *rapid.T) {
				before := len(slots)
				l, s, ok := p.Take()
				if !ok {
					for i := range lines {
						l := &lines[i]
						free := before < p.Max && l.running == 0 && (!l.Cold || cold < p.Chill) || before < p.Spare
						if !l.Idle && l.running < l.Window && free {
							t.Fatalf("line %d gets no slot: %+v", i, *l)
						}
					}
					return
				}
				if l.Idle || l.running > l.Window || l.running > 1 && before >= p.Spare || s.cold && cold >= p.Chill {
					t.Fatalf("a slot too many: %+v beside %d", *l, before)
				}
				if s.cold {
					cold++
				}
				slots = append(slots, held{l, s})
			},
			"free": func(t *rapid.T) {
				if len(slots) == 0 {
					t.Skip("none held")
				}
				i := rapid.IntRange(0, len(slots)-1).Draw(t, "slot")
				p.Free(slots[i].l, slots[i].s)
				if slots[i].s.cold {
					cold--
				}
				slots = append(slots[:i], slots[i+1:]...)
			},
			"": func(t *rapid.T) {
				if p.taken != len(slots) || p.cold != cold || len(slots) > p.Max {
					t.Fatalf("%d taken, %d cold; held %d, %d", p.taken, p.cold, len(slots), cold)
				}
			},
		})
	})
}
