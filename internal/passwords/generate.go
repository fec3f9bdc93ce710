package passwords

import (
	"errors"
	"io"
	"slices"
	"strings"
)

const (
	// letters are those of a password that is made: 32, none of which looks
	// like another.
	letters = "0123456789abcdefghjkmnpqrstvwxyz"
	// groupLetters and groups are its form: 20 letters of 5 bits are 100
	// bits, more than anybody will ever try through.
	groupLetters = 5
	groups       = 4
	// maxDraws bounds how often a password is drawn before one has what the
	// policy asks for. Nearly every one has.
	maxDraws = 20
)

// Generate makes a password that the policy accepts: groups of letters and
// digits that can be read to a phone; the hyphens are part of it. Where
// capitals are asked for, its first group is of them.
func Generate(random io.Reader, p *Policy, who Person) (string, error) {
	n := groups
	for n*(groupLetters+1)-1 < p.MinLength {
		n++
	}
	for range maxDraws {
		pw, err := draw(random, n)
		if err != nil {
			return "", err
		}
		if slices.Contains(p.Require, Upper) {
			pw = strings.ToUpper(pw[:groupLetters]) + pw[groupLetters:]
		}
		_, err = p.Check(pw, who)
		var refused *Refusal
		switch {
		case err == nil:
			return pw, nil
		case !errors.As(err, &refused):
			return "", err
		}
	}
	return "", errors.New("no password could be made: the source of randomness is broken")
}

func draw(random io.Reader, groups int) (string, error) {
	b := make([]byte, groups*groupLetters)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", err
	}
	out := make([]byte, 0, len(b)+groups)
	for i, c := range b {
		if i > 0 && i%groupLetters == 0 {
			out = append(out, '-')
		}
		out = append(out, letters[c%byte(len(letters))])
	}
	return string(out), nil
}
