package signin

import (
	"sync"
	"time"

	"gatepost/internal/account/recent"
	"gatepost/internal/clock"
)

const (
	// maxGuesses bounds the wrong codes of apps at an account, from all
	// networks together, by whoever has its password: RFC 4226, section 7.3.
	// Ten in an hour hit one of three good codes once in four years.
	maxGuesses = 10
	guessTime  = time.Hour
	// maxGuessed bounds the accounts that are remembered. Only who has the
	// password of one adds to them.
	maxGuessed = 10_000
)

// guesses counts the wrong codes of each account. Delays by network do not
// bound what many networks try together, and six digits are few. Nobody is shut
// out by strangers: only the right password gets so far, and recovery codes
// and passkeys, which nobody guesses, open all the while.
type guesses struct {
	clock clock.Clock

	mu    sync.Mutex
	wrong recent.Map[int64, guessed]
}

// guessed are the wrong codes of an account within guessTime.
type guessed struct {
	n     int
	since time.Time
}

func newGuesses(c clock.Clock) *guesses {
	return &guesses{clock: c, wrong: recent.New[int64, guessed](maxGuessed)}
}

// enter counts a code as a wrong one before it is looked at, so that many at
// the same time are not more. It is false where there is no room.
func (g *guesses) enter(account int64) bool {
	now := g.clock.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	was, known := g.wrong.Get(account)
	if !known || !now.Before(was.since.Add(guessTime)) {
		was = guessed{since: now}
	}
	if was.n >= maxGuesses {
		return false
	}
	was.n++
	g.wrong.Put(account, was)
	return true
}

// right takes back that a code was counted.
func (g *guesses) right(account int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was, known := g.wrong.Get(account); known && was.n > 0 {
		was.n--
		g.wrong.Put(account, was)
	}
}
