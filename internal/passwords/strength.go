package passwords

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ccojocar/zxcvbn-go"
	"github.com/ccojocar/zxcvbn-go/match"
	"github.com/ccojocar/zxcvbn-go/matching"
	"golang.org/x/text/unicode/norm"

	"gatepost/internal/addr"
)

const (
	// maxScored is how many characters of a password are scored: what the
	// search costs grows faster than its length, and what is behind a
	// hundred characters changes nothing.
	maxScored = 100
	// minName is the least length of a name that is looked for: shorter ones
	// are in every word.
	minName = 3
	// maxNames bounds the names that are looked for.
	maxNames = 200
	// maxLeet is up to how many different characters are tried as letters in
	// disguise (p4ssw0rd): what that costs doubles with each, and a word in
	// which more are changed is none any more.
	maxLeet = 6
	leet    = "@48({[<369!1|70$5+%2"
)

// score returns the rating of a password, and in words what it is mostly made
// of, if anything.
func score(pw string, who Person) (Rating, string) {
	text := latin(pw, maxScored)
	var without []func(match.Matcher) bool
	if disguises(text) > maxLeet {
		without = append(without, matching.FilterL33tMatcher)
	}
	m := zxcvbn.PasswordStrength(text, names(who), without...)
	var made []string
	for _, part := range m.MatchSequence {
		if w := describe(part.Pattern, part.DictionaryName); w != "" && !slices.Contains(made, w) {
			made = append(made, w)
		}
	}
	return Rating{Score: m.Score, Length: utf8.RuneCountInString(pw)}, join(made)
}

// disguises returns how many different characters of a text may be letters in
// disguise.
func disguises(text string) (n int) {
	for _, c := range leet {
		if strings.ContainsRune(text, c) {
			n++
		}
	}
	return n
}

// describe names a part of a password, without saying what it is.
func describe(pattern, dictionary string) string {
	switch pattern {
	case "dictionary":
		switch dictionary {
		case "user_inputs":
			return "your own names"
		case "Passwords":
			return "common passwords"
		case "English":
			return "common words"
		}
		return "first names and surnames"
	case "spatial":
		return "keys that lie side by side"
	case "repeat":
		return "repetitions"
	case "sequence":
		return "runs such as abc or 321"
	case "date":
		return "dates"
	}
	return ""
}

// names returns the words that cost nothing to guess in a person's password:
// the addresses, and what they are put together from.
func names(who Person) []string {
	seen := map[string]bool{}
	list := []string{}
	add := func(s string) {
		s = latin(strings.ToLower(s), maxScored)
		if len(s) >= minName && !seen[s] && len(list) < maxNames {
			seen[s] = true
			list = append(list, s)
		}
	}
	for _, a := range append([]addr.Address{who.Address}, who.Names...) {
		for _, s := range []string{a.Local, a.Domain.Unicode(), a.Unicode()} {
			add(s)
			parts := strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
			for _, p := range parts {
				add(p)
			}
			add(strings.Join(parts, ""))
		}
	}
	return list
}

// latin writes the first max characters of s in one octet each, which is what
// zxcvbn counts: letters without their marks, and for every other character a
// small letter that is always the same, so that repetitions and runs stay
// what they are.
func latin(s string, max int) string {
	out := make([]byte, 0, max)
	for _, r := range s {
		if len(out) == max {
			break
		}
		if r >= utf8.RuneSelf {
			if base, _ := utf8.DecodeRuneInString(norm.NFD.String(string(r))); base < utf8.RuneSelf {
				r = base
			} else {
				r = 'a' + r%26
			}
		}
		out = append(out, byte(r))
	}
	return string(out)
}
