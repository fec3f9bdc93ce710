package passwords

import (
	"crypto/rand"
	"regexp"
	"strings"
	"testing"
)

func TestGenerate(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for length, form := range map[int]string{
		8: `^[0-9a-hjkmnp-tv-z]{5}(-[0-9a-hjkmnp-tv-z]{5}){3}$`, 23: `^(.{5}-){3}.{5}$`, 24: `^(.{5}-){4}.{5}$`, 64: `^(.{5}-){10}.{5}$`,
	} {
		p := usual()
		p.MinLength = length
		for range 5 {
			pw, err := Generate(rand.Reader, p, henry)
			if err != nil || !regexp.MustCompile(form).MatchString(pw) || seen[pw] {
				t.Errorf("%d: %q, %v", length, pw, err)
			}
			seen[pw] = true
			if got := refusal(t, p, pw, henry); got != "" {
				t.Errorf("%q: %s", pw, got)
			}
		}
	}
	for _, require := range [][]Class{{Upper}, {Digit}, {Lower, Symbol}, Classes} {
		p := usual()
		p.Require = require
		for range 5 {
			pw, err := Generate(rand.Reader, p, henry)
			if err != nil {
				t.Fatal(err)
			}
			if got := refusal(t, p, pw, henry); got != "" {
				t.Errorf("%v: %q: %s", require, pw, got)
			}
		}
	}
	if _, err := Generate(strings.NewReader("few"), usual(), henry); err == nil {
		t.Error("made without randomness")
	}
	beyond := usual()
	beyond.Strength = MaxStrength + 1
	if pw, err := Generate(rand.Reader, beyond, henry); err == nil || pw != "" {
		t.Errorf("made for a policy that nothing meets: %q", pw)
	}
}
