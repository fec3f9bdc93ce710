package activity

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
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

	q      *rand.Rand // of what befalls the password alone
	factor time.Time  // when a second factor is turned on
	stolen time.Time  // when the last alert about the password was
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
		if p.switches(day) {
			p.knew(prog, where, at)
		}
		p.signIn(prog, where, at)
	}
}

// switches reports whether programs still have the main password, which opens
// nothing any more, on the days after a second factor was turned on.
func (p *person) switches(day time.Time) bool {
	return !day.Before(p.factor) && day.Before(p.factor.AddDate(0, 0, 3))
}

// knew is a sign-in with the main password of somebody with a second factor:
// it is refused. It tells whether the owner is alerted.
func (p *person) knew(prog program, where provider, at time.Time) bool {
	e := &Event{Kind: SignIn, Outcome: Refused, Knew: true, Owner: 1, Account: anna, Mechanism: "PLAIN", First: at, Last: at, Times: 1, Client: Client{
		Protocol: SMTP, Address: where.address(p.q), Country: where.country, Network: where.name, Name: prog.name, Version: prog.version, Group: prog.group,
	}}
	if p.h.own(e) || at.Before(p.stolen.Add(stolenRest)) { // as judgeStolen bounds it
		return false
	}
	p.stolen = at
	p.told[Stolen]++
	return true
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
func (p *person) breakIn(w world, r *rand.Rand, i int, at time.Time, try func(program, provider, time.Time) bool) (what string, told bool) {
	bot := program{fmt.Sprintf("WIN-%06d", r.IntN(1e6)), "LOGIN", tls.X25519, tls.VersionTLS13, false}
	alike := p.programs[i%2]
	switch i % 5 {
	case 0:
		return "another country, another program", try(bot, pick(r, w[w.somewhere(r, p.country)]), at)
	case 1:
		return "another country, a program like the owner's", try(alike, pick(r, w[w.somewhere(r, p.country)]), at)
	case 2:
		return "the same country, another program", try(bot, pick(r, w[p.country]), at)
	case 3:
		hoster := provider{p.country, "AS65000 Hosting", 200}
		return "a hoster in the same country, a program like the owner's", try(alike, hoster, at)
	}
	return "the owner's own provider, another program", try(bot, p.home, at)
}

// year is what a simulated year came to.
type year struct {
	all    []*person
	broken map[*person]bool
	told   int // break-ins with a password that was enough
	kept   int // attempts with one that was phished, and was not enough
	lines  []string
}

// live lets a year go by, with break-ins planted into it: each once with a
// password that is enough, and once with one that was phished from somebody who
// has a second factor.
func (y *year) live(w world, r, q *rand.Rand) {
	for i := range people {
		p := newPerson(w, r)
		p.q, p.factor = q, date(60+2*i)
		y.all = append(y.all, p)
	}
	planted := map[int]int{} // the number of a break-in, by day
	for i := range breakIns {
		planted[30+i*16] = i
	}
	for day := range 365 {
		for _, p := range y.all {
			p.live(w, date(day))
		}
		i, ok := planted[day]
		if !ok {
			continue
		}
		victim, at := y.all[r.IntN(people)], date(day).Add(27*time.Hour)
		y.broken[victim] = true
		what, yes := victim.breakIn(w, r, i, at, victim.signIn)
		other := y.all[q.IntN(people)]
		y.broken[other] = true
		_, kept := other.breakIn(w, q, i, at, other.knew)
		y.lines = append(y.lines, fmt.Sprintf("| %2d | %s | %-53s | %-5v | %-5v |", i+1, date(day).Format(time.DateOnly), what, yes, kept))
		if yes {
			y.told++
		}
		if kept {
			y.kept++
		}
	}
}

func date(day int) time.Time { return time.Date(2026, 1, 1+day, 0, 0, 0, 0, time.UTC) }

func TestYear(t *testing.T) {
	t.Parallel()
	y := &year{broken: map[*person]bool{}}
	y.live(newWorld(), rand.New(rand.NewPCG(6, 2026)), rand.New(rand.NewPCG(7, 2026)))
	var counts []int
	kinds := map[AlertKind]int{}
	posts, own := 0, 0
	for _, p := range y.all {
		n := 0
		for k, some := range p.told {
			n += some
			kinds[k] += some
			posts += some
		}
		if !y.broken[p] {
			counts = append(counts, n)
			own += p.told[Stolen]
		}
	}
	slices.Sort(counts)
	median, most := counts[len(counts)/2], counts[len(counts)-1]
	t.Log("\n|  # | day        | break-in                                              | told  | told where a factor kept it out |\n" + strings.Join(y.lines, "\n"))
	t.Logf("%d of %d break-ins were told, and %d of %d that a second factor kept out", y.told, breakIns, y.kept, breakIns)
	t.Logf("alerts in a year to the %d who had none: median %d, nine of ten at most %d, the most %d; false ones about the password %d", len(counts), median, counts[len(counts)*9/10], most, own)
	for n := 0; n <= most; n++ {
		if some := len(counts) - len(slices.DeleteFunc(slices.Clone(counts), func(c int) bool { return c == n })); some > 0 {
			t.Logf("%3d alerts: %2d people", n, some)
		}
	}
	t.Logf("to all %d: %d alerts, each one mail and one post to the webhook; by kind %v", people, posts, kinds)
	if y.told < 18 || y.kept < 18 || median > 12 || most > 20 || own > 10 {
		t.Error("too few were told, or too much")
	}
}
