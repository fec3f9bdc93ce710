package slot

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTurns(t *testing.T) {
	t.Parallel()
	p := Pool[string]{Max: 4, Chill: 4, Freeze: 4, Spare: 4}
	for _, name := range []string{"a", "b", "c"} {
		p.Update(&Line[string]{Of: name, Window: 9, Pace: Quick})
	}
	got := ""
	for l, _, ok := p.Take(0); ok; l, _, ok = p.Take(0) {
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
	p := Pool[string]{Max: 1, Chill: 1, Freeze: 1, Spare: 1}
	long := map[string]*Line[string]{}
	for _, name := range []string{"a", "b", "c", "d"} {
		long[name] = &Line[string]{Of: name, Window: 1, Pace: Quick}
		p.Update(long[name])
	}
	single := &Line[string]{Of: "x", Window: 1, Pace: Quick, Idle: true}
	p.Update(single)
	got := ""
	for range 6 {
		l, s, ok := p.Take(0)
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

// A line of which nothing is known does not wait behind thousands of dead
// ones, though they hold their slots for long.
func TestUnknown(t *testing.T) {
	t.Parallel()
	p := Pool[string]{Max: 8, Chill: 6, Freeze: 3, Spare: 4}
	for range 100 {
		p.Update(&Line[string]{Of: "dead", Window: 1, Pace: Slow})
	}
	got := ""
	for l, _, ok := p.Take(0); ok; l, _, ok = p.Take(0) {
		got += l.Of + " "
	}
	if got != "dead dead dead " {
		t.Errorf("dead lines take %q", got)
	}
	for range 4 {
		p.Update(&Line[string]{Of: "new", Window: 1})
	}
	for range 3 {
		if l, _, ok := p.Take(0); !ok || l.Of != "new" {
			t.Errorf("a new line waits behind the dead: %v", l)
		}
	}
	if l, _, ok := p.Take(0); ok {
		t.Errorf("%s takes what is kept for quick lines", l.Of)
	}
}

// Lines that have fallen behind wait while too many slots are young, a line
// that had nothing to do does not; and who is young ends by time or by being
// done.
func TestYoung(t *testing.T) {
	t.Parallel()
	const age = 25 * time.Millisecond
	p := Pool[string]{Max: 19, Chill: 19, Freeze: 19, Spare: 19, Young: Young{Max: 2, Age: age}}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		p.Update(&Line[string]{Of: name, Window: 1, Pace: Quick})
	}
	single := &Line[string]{Of: "x", Window: 1, Pace: Quick, Idle: true}
	p.Update(single)
	take := func(now time.Duration, want string) (l *Line[string], s Slot) {
		t.Helper()
		l, s, ok := p.Take(now)
		if got := ""; ok && l.Of != want || !ok && want != got {
			t.Errorf("at %v %v has a slot, %v; want %q", now, l, ok, want)
		}
		return l, s
	}
	again := func(want time.Duration) {
		t.Helper()
		if at, ok := p.Again(); at != want || ok != (want > 0) {
			t.Errorf("again at %v, %v; want %v", at, ok, want)
		}
	}
	again(0)
	a, held := take(0, "a")
	again(0)
	take(1*time.Millisecond, "b")
	take(2*time.Millisecond, "")
	again(age)
	single.Idle = false
	p.Update(single)
	take(2*time.Millisecond, "x")
	take(2*time.Millisecond, "")
	a.Idle = true
	p.Free(a, held)
	take(3*time.Millisecond, "c")
	take(age, "")
	again(age + 1*time.Millisecond)
	take(age+1*time.Millisecond, "d")
	take(age+3*time.Millisecond, "e")
	again(0) // nobody waits

	// What a line has further does not count, but comes after who waits.
	l := &Line[string]{Of: "y", Window: 4, Pace: Quick}
	p.Update(l)
	take(3*age, "y")
	take(3*age, "y")
	take(3*age, "y")
	p.Update(&Line[string]{Of: "f", Window: 1, Pace: Quick})
	p.Update(&Line[string]{Of: "g", Window: 1, Pace: Quick})
	take(3*age, "f")
	take(3*age, "")
	take(4*age, "g")
	take(4*age, "y")
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
		p := Pool[int]{Max: 8, Chill: 6, Freeze: 3, Spare: 4, Young: Young{Max: 3, Age: 10}}
		now := time.Duration(0)
		lines := make([]Line[int], 10)
		for i := range lines {
			lines[i] = Line[int]{Of: i, Idle: true, Window: 1}
		}
		var slots []held
		by := map[Pace]int{}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				l := &lines[rapid.IntRange(0, len(lines)-1).Draw(t, "line")]
				l.Idle, l.Pace, l.Window = rapid.Bool().Draw(t, "idle"), Pace(rapid.IntRange(0, 2).Draw(t, "pace")), rapid.IntRange(1, 3).Draw(t, "window")
				p.Update(l)
			},
			"pass": func(t *rapid.T) { now += time.Duration(rapid.IntRange(0, 5).Draw(t, "time")) },
			"take": func(t *rapid.T) {
				young := 0
				for _, h := range slots {
					if h.s.young && now-h.s.given < p.Young.Age {
						young++
					}
				}
				before := len(slots)
				room := [paces]bool{
					Quick:   true,
					Unknown: by[Unknown]+by[Slow] < p.Chill,
					Slow:    by[Unknown]+by[Slow] < p.Chill && by[Slow] < p.Freeze,
				}
				l, s, ok := p.Take(now)
				if len(p.Young.since) != young && !ok || young > p.Young.Max {
					t.Fatalf("%d are young, of which %d are known", young, len(p.Young.since))
				}
				if !ok {
					for i := range lines {
						l := &lines[i]
						free := l.running == 0 && before < p.Max && room[l.Pace] || l.running > 0 && before < p.Spare
						if !l.Idle && l.running < l.Window && free && !p.crowded() {
							t.Fatalf("line %d gets no slot: %+v", i, *l)
						}
					}
					return
				}
				if young == p.Young.Max && s.young {
					t.Fatalf("one young too many: %+v", *l)
				}
				if l.Idle || l.running > l.Window || l.running > 1 && before >= p.Spare || l.running == 1 && !room[s.pace] {
					t.Fatalf("a slot too many: %+v beside %d", *l, before)
				}
				by[s.pace]++
				slots = append(slots, held{l, s})
			},
			"free": func(t *rapid.T) {
				if len(slots) == 0 {
					t.Skip("none held")
				}
				i := rapid.IntRange(0, len(slots)-1).Draw(t, "slot")
				p.Free(slots[i].l, slots[i].s)
				by[slots[i].s.pace]--
				slots = append(slots[:i], slots[i+1:]...)
			},
			"": func(t *rapid.T) {
				if p.taken != len(slots) || p.cold() != by[Unknown]+by[Slow] || len(slots) > p.Max {
					t.Fatalf("%d taken, %d cold; held %d, %v", p.taken, p.cold(), len(slots), by)
				}
			},
		})
	})
}
