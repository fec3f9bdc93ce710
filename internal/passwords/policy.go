// Package passwords decides which passwords people may choose: how long, how
// hard to guess, on no list of those that were breached; and makes good ones.
//
// # Place in the path
//
// None: mail does not pass here. account asks it whenever somebody chooses a
// password, however that comes to be set. Passwords that the server makes for
// devices are not asked about.
//
// # How strength is told
//
// By zxcvbn: what the cheapest description of the password as words, names,
// dates, keys side by side, runs and repetitions costs to guess, from 0 (at
// once) to 4. The person's own names and domains are words that cost nothing.
//
// # Trust and limits
//
// The password is a stranger's, after SASLprep, and may be of any length that
// package secret lets through: what is scored of it is its first maxScored
// characters. Nothing of it is in an error. The operator's list is a file of
// ours; when it is damaged nothing is accepted before that is mended.
package passwords

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatepost/internal/addr"
)

// Bounds of what an operator may ask for.
const (
	// Floor is the least length that can be asked for, in characters: NIST
	// SP 800-63B (revision 3), section 5.1.1.2.
	Floor = 8
	// Ceiling is the greatest: what is asked for must be typed.
	Ceiling = 64
	// MaxStrength is the highest score.
	MaxStrength = 4
	// MaxHistory bounds the former passwords that are kept: with each new
	// one all of them are hashed against.
	MaxHistory = 10
)

// Policy is what a password must be. It is not changed once it is in use.
type Policy struct {
	MinLength int // characters
	Strength  int // least score
	Require   []Class
	History   int           // how many of the last ones may not come again, the present one among them
	MaxAge    time.Duration // 0: none
	// File is the operator's own list of breached passwords; it need not
	// exist.
	File string
}

// Class is a kind of character that a password may have to hold.
type Class string

// The classes.
const (
	Lower  Class = "lower"
	Upper  Class = "upper"
	Digit  Class = "digit"
	Symbol Class = "symbol"
)

// Classes are all of them.
var Classes = []Class{Lower, Upper, Digit, Symbol}

// noun says what is lacking, and what would do.
func (c Class) noun() string {
	switch c {
	case Lower:
		return "small letter"
	case Upper:
		return "capital letter"
	case Digit:
		return "digit"
	}
	return "character beside letters and digits"
}

func (c Class) is(r rune) bool {
	switch c {
	case Lower:
		return unicode.IsLower(r)
	case Upper:
		return unicode.IsUpper(r)
	case Digit:
		return unicode.IsDigit(r)
	}
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
}

// Person is whose password it is to be.
type Person struct {
	Address addr.Address
	// Names are others by which the person is known: aliases.
	Names []addr.Address
}

// Rating is what is kept of a password that was accepted.
type Rating struct {
	Score  int
	Length int // characters
}

// Weak reports whether a password of this rating would be refused now.
func (p *Policy) Weak(r Rating) bool { return r.Score < p.Strength || r.Length < p.least() }

// Words tell what a password must be, before anybody chooses one; each is a
// sentence.
func (p *Policy) Words() []string {
	list := []string{
		fmt.Sprintf("It has at least %d characters. Some words that have nothing to do with one another are easy to remember and hard to guess.", p.least()),
		"It is not on the lists of breached passwords, and not made of your own names.",
	}
	for _, c := range p.Require {
		list = append(list, "It has a "+c.noun()+".")
	}
	if p.History > 0 {
		list = append(list, fmt.Sprintf("It is none of the last %d that you had here.", p.History))
	}
	return list
}

func (p *Policy) least() int { return max(p.MinLength, Floor) }

// Refusal says why a password may not be chosen, and what would do. It holds
// nothing of the password.
type Refusal struct {
	Reasons []string // each the rest of a sentence that begins with "it"
	Advice  string   // a sentence without its full stop
}

func (r *Refusal) Error() string {
	return "the password is refused: it " + strings.Join(r.Reasons, ", and it ") + ". " + r.Advice
}

// Check reports whether the person may have a password, which is as package
// secret prepared it, from now on. It returns a *Refusal if not, and another
// error if that cannot be found out.
func (p *Policy) Check(pw string, who Person) (Rating, error) {
	rating, made := score(pw, who)
	reasons := p.form(pw, who)
	on, err := p.breached(pw)
	if err != nil {
		return Rating{}, err
	}
	if on {
		reasons = append(reasons, "is known: it stands on a list of common and breached passwords, which is what is tried first")
	}
	if rating.Score < p.Strength {
		reason := fmt.Sprintf("is easy to guess (%d of %d, and %d is the least)", rating.Score, MaxStrength, p.Strength)
		if made != "" {
			reason += ", being made of " + made
		}
		reasons = append(reasons, reason)
	}
	if len(reasons) > 0 {
		return Rating{}, p.refuse(reasons)
	}
	return rating, nil
}

// form returns what is wrong with a password that one can see.
func (p *Policy) form(pw string, who Person) (reasons []string) {
	if n := utf8.RuneCountInString(pw); n < p.least() {
		reasons = append(reasons, fmt.Sprintf("has %s, and %d are the least", count(n, "character"), p.least()))
	}
	if f := addr.FoldLocal(pw); f == who.Address.Fold().String() || f == addr.FoldLocal(who.Address.Unicode()) {
		reasons = append(reasons, "is the address itself")
	}
	for _, c := range p.Require {
		if !strings.ContainsFunc(pw, c.is) {
			reasons = append(reasons, "has no "+c.noun())
		}
	}
	return reasons
}

func (p *Policy) refuse(reasons []string) *Refusal {
	words := []string{"Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven"}
	advice := words[min(max((p.least()-1)/6, 3)-3, len(words)-1)] + " uncommon words that have nothing to do with one another or with you would do"
	var with []string
	for _, c := range p.Require {
		if c != Lower {
			with = append(with, "a "+c.noun())
		}
	}
	if len(with) > 0 {
		advice += ", with " + join(with) + " somewhere among them"
	}
	return &Refusal{reasons, advice + "; or let --generate make one"}
}

// Reused is the refusal of a password that the person had before.
func (p *Policy) Reused() *Refusal {
	reason := "is one of the last " + fmt.Sprint(p.History) + " that this account had"
	if p.History == 1 {
		reason = "is the one that this account has"
	}
	return p.refuse([]string{reason})
}

func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// join writes a list as in a sentence.
func join(list []string) string {
	if n := len(list); n > 1 {
		return strings.Join(list[:n-1], ", ") + " and " + list[n-1]
	}
	return strings.Join(list, "")
}

// ParseClass reads a class as an operator writes it.
func ParseClass(s string) (Class, error) {
	if c := Class(s); slices.Contains(Classes, c) {
		return c, nil
	}
	return "", fmt.Errorf("%q is not one of lower, upper, digit, symbol", s)
}
