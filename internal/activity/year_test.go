package activity

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// The simulated year: how many alerts ordinary use brings, and how many of
// the break-ins that are planted in it are told. It is made up: people who
// send from home, work and on the way, whose providers give them other
// addresses, who travel, get new phones and change their provider.
const (
	people   = 100
	breakIns = 20
)

// provider is who announces addresses.
type provider struct {
	country, name string
	net           byte // the first octet of its addresses
}

func (p provider) address(r *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{p.net, byte(r.IntN(4)), byte(r.IntN(256)), byte(1 + r.IntN(254))})
}

// world has some providers in each of some countries.
type world map[string][]provider

func newWorld() world {
	w := world{}
	for i, c := range []string{"DE", "FR", "ES", "IT", "US", "AT", "CH", "PL", "BR", "VN", "RU", "NL"} {
		for j := range 8 {
			w[c] = append(w[c], provider{c, fmt.Sprintf("AS%d Provider %d", 64496+8*i+j, j), byte(11 + 8*i + j)})
		}
	}
	return w
}

func (w world) somewhere(r *rand.Rand, but string) string {
	var list []string
	for c := range w {
		if c != but {
			list = append(list, c)
		}
	}
	slices.Sort(list)
	return list[r.IntN(len(list))]
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// program is a mail program on a device.
type program struct {
	name, mechanism string
	group           tls.CurveID
	version         uint16
	mobile          bool
}

// person lives in a country.
type person struct {
	r                  *rand.Rand
	country            string
	home, work, mobile provider
	programs           []program
	away               int // days left of a journey
	there              []provider
	h                  habits
	moves              []time.Time // of the alerts about networks
	told               map[AlertKind]int
}

func (p *person) program(mobile bool) program {
	r := p.r
	if mobile {
		return program{"[10.7.0.1]", "PLAIN", tls.X25519, tls.VersionTLS13, true}
	}
	return pick(r, []program{
		{"[192.168.1.7]", "PLAIN", tls.X25519MLKEM768, tls.VersionTLS13, false},
		{fmt.Sprintf("pc-%c.fritz.box", 'a'+r.IntN(26)), "SCRAM-SHA-256", tls.X25519MLKEM768, tls.VersionTLS13, false},
		{"localhost", "SCRAM-SHA-256-PLUS", tls.X25519, tls.VersionTLS13, false},
	})
}

func newPerson(w world, r *rand.Rand) *person {
	c := pick(r, []string{"DE", "FR", "US", "AT"})
	p := &person{r: r, country: c, home: w[c][r.IntN(3)], work: w[c][3+r.IntN(3)], mobile: w[c][6+r.IntN(2)], h: habits{}, told: map[AlertKind]int{}}
	p.programs = []program{p.program(false), p.program(true)}
	if r.IntN(20) == 0 {
		p.programs[0].version = tls.VersionTLS12
	}
	return p
}

// chance comes true once in so many days.
func (p *person) chance(days int) bool { return p.r.IntN(days) == 0 }

// live is a day of a person's: what changes, then what is sent.
func (p *person) live(w world, day time.Time) {
	switch {
	case p.chance(700):
		p.programs[1] = p.program(true) // a new phone
		p.programs[1].group = pick(p.r, []tls.CurveID{tls.X25519, tls.X25519MLKEM768})
	case p.chance(1200):
		p.programs[0] = p.program(false)
	case p.chance(1500):
		p.home = pick(p.r, w[p.country])
	case p.away == 0 && p.chance(120):
		to := p.country
		if p.r.IntN(3) > 0 {
			to = w.somewhere(p.r, p.country)
		}
		p.away, p.there = 2+p.r.IntN(10), []provider{pick(p.r, w[to]), pick(p.r, w[to])}
	}
	p.away = max(0, p.away-1)
	at := day.Add(7 * time.Hour)
	for range p.r.IntN(8) {
		at = at.Add(time.Duration(10+p.r.IntN(120)) * time.Minute)
		prog, where := pick(p.r, p.programs), p.home
		switch {
		case p.away > 0 && prog.mobile && p.r.IntN(3) == 0:
			where = p.mobile // roaming comes out at home
		case p.away > 0:
			where = pick(p.r, p.there)
		case prog.mobile && p.r.IntN(2) == 0:
			where = p.mobile
		case p.r.IntN(40) == 0:
			where = pick(p.r, w[p.country]) // a café
		case day.Weekday() >= time.Monday && day.Weekday() <= time.Friday && at.Hour() < 17:
			where = p.work
		}
		p.signIn(prog, where, at)
	}
}

// signIn tells whether the owner is alerted.
func (p *person) signIn(prog program, where provider, at time.Time) bool {
	e := &Event{Kind: SignIn, Outcome: Done, Owner: 1, Account: anna, Mechanism: prog.mechanism, First: at, Last: at, Times: 1, Client: Client{
		Protocol: SMTP, Address: where.address(p.r), Country: where.country, Network: where.name, Name: prog.name, Version: prog.version, Group: prog.group,
	}}
	kind, _, _ := p.h.judge(e)
	if kind == NewNetwork { // as judgeSignIn bounds it
		p.moves = slices.DeleteFunc(p.moves, func(t time.Time) bool { return t.Before(at.Add(-movesTime)) })
		if len(p.moves) >= maxMoves {
			kind = ""
		} else {
			p.moves = append(p.moves, at)
		}
	}
	if kind == "" {
		return false
	}
	p.told[kind]++
	return true
}

// breakIn signs in with the password of somebody else, from one of the kinds
// of places that break-ins come from.
func (p *person) breakIn(w world, i int, at time.Time) (what string, told bool) {
	bot := program{fmt.Sprintf("WIN-%06d", p.r.IntN(1e6)), "LOGIN", tls.X25519, tls.VersionTLS13, false}
	alike := p.programs[i%2]
	switch i % 5 {
	case 0:
		return "another country, another program", p.signIn(bot, pick(p.r, w[w.somewhere(p.r, p.country)]), at)
	case 1:
		return "another country, a program like the owner's", p.signIn(alike, pick(p.r, w[w.somewhere(p.r, p.country)]), at)
	case 2:
		return "the same country, another program", p.signIn(bot, pick(p.r, w[p.country]), at)
	case 3:
		hoster := provider{p.country, "AS65000 Hosting", 200}
		return "a hoster in the same country, a program like the owner's", p.signIn(alike, hoster, at)
	}
	return "the owner's own provider, another program", p.signIn(bot, p.home, at)
}

func TestYear(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(6, 2026))
	w := newWorld()
	var all []*person
	for range people {
		all = append(all, newPerson(w, r))
	}
	var told int
	planted := map[int]int{} // the victim of a break-in, by day
	for i := range breakIns {
		planted[30+i*16] = i
	}
	broken := map[*person]bool{}
	for day := range 365 {
		date := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, day)
		for _, p := range all {
			p.live(w, date)
		}
		i, ok := planted[day]
		if !ok {
			continue
		}
		victim := all[r.IntN(people)]
		broken[victim] = true
		what, yes := victim.breakIn(w, i, date.Add(3*time.Hour+24*time.Hour))
		if yes {
			told++
		}
		t.Logf("break-in %d on %s: %s: told %v", i+1, date.Format(time.DateOnly), what, yes)
	}
	var counts []int
	kinds := map[AlertKind]int{}
	for _, p := range all {
		n := 0
		for k, some := range p.told {
			n += some
			kinds[k] += some
		}
		if !broken[p] {
			counts = append(counts, n)
		}
	}
	slices.Sort(counts)
	median, most := counts[len(counts)/2], counts[len(counts)-1]
	t.Logf("%d of %d break-ins were told; alerts in a year to those who had none: median %d, nine of ten at most %d, the most %d; by kind %v",
		told, breakIns, median, counts[len(counts)*9/10], most, kinds)
	t.Logf("to each: %v", counts)
	if told < 18 || median > 10 || most > 20 {
		t.Error("too few were told, or too much")
	}
}
