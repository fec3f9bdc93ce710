package passwords

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"gatepost/internal/addr"
)

// usual is the policy of a configuration that says nothing.
func usual() *Policy { return &Policy{MinLength: 12, Strength: 3, History: 5} }

var henry = Person{
	Address: addr.MustParse("henry.ford@motors.example"),
	Names:   []addr.Address{addr.MustParse("sales@lizzie.example")},
}

// refusal returns why a password is refused, empty if it is not.
func refusal(t testing.TB, p *Policy, pw string, who Person) string {
	t.Helper()
	rating, err := p.Check(pw, who)
	if err == nil {
		if p.Weak(rating) || rating.Length != utf8.RuneCountInString(pw) {
			t.Errorf("%q: accepted, and rated %+v", pw, rating)
		}
		return ""
	}
	var r *Refusal
	if !errors.As(err, &r) || len(r.Reasons) == 0 || r.Advice == "" {
		t.Fatalf("%q: %v", pw, err)
	}
	return err.Error()
}

func TestCheck(t *testing.T) {
	t.Parallel()
	asks := usual()
	asks.Require = []Class{Lower, Upper, Digit, Symbol}
	eight := usual()
	eight.MinLength = 0
	lax := &Policy{}
	for _, tt := range []struct {
		policy *Policy
		pw     string
		says   []string // none: accepted
	}{
		{usual(), "correct horse battery", nil},
		{usual(), "k7m3q-x9d2p-4rtzn-80swv", nil},
		{usual(), "крепкий чайник у ворот", nil},
		{usual(), "pomme violon été gâteau", nil},
		{usual(), "x8#Kq!v2Lp", []string{"it has 10 characters, and 12 are the least. Four uncommon words"}},
		{usual(), "x", []string{"has 1 character, and 12", "is easy to guess (0 of 4, and 3 is the least)"}},
		{eight, "x8#Kq!v2Lp", nil},
		{eight, "x8#Kq!v", []string{"has 7 characters, and 8 are the least"}},
		{usual(), "henry.ford@motors.example", []string{"is the address itself", "being made of your own names"}},
		{usual(), "Henry.Ford@MOTORS.example", []string{"is the address itself"}},
		{usual(), "HenryFord2026", []string{"your own names"}},
		{usual(), "lizzielizzie1", []string{"your own names"}},
		{usual(), "motors-henry-sales", []string{"your own names"}},
		{usual(), "qwertyuiop12", []string{"is known", "is easy to guess"}},
		{usual(), "1234567890123", []string{"is easy to guess", "runs such as abc or 321"}},
		{usual(), "zzzzzzzzzzzzzzzz", []string{"is easy to guess", "repetitions"}},
		{usual(), "zxcvfdsaqwer", []string{"keys that lie side by side"}},
		{usual(), "sunshinemonkey", []string{"common passwords"}},
		{usual(), "пппппппппппп", []string{"is easy to guess", "repetitions"}},
		{usual(), "pässwördpässwörd", []string{"common passwords"}},
		{lax, "unbelievable", []string{"it is known"}}, // the floor and the lists hold whatever is asked for
		{lax, "UNBELIEVABLE", []string{"it is known"}},
		{lax, "aaaabbbb", []string{"it is known"}},
		{lax, "1234567", []string{"has 7 characters"}},
		{asks, "correct horse battery", []string{"has no capital letter, and it has no digit. Four", "with a capital letter, a digit and a character beside letters and digits somewhere among them"}},
		{asks, "Correct horse 7 battery", nil},
		{asks, "CORRECT7HORSE7BATTERY", []string{"has no small letter", "has no character beside"}},
	} {
		got := refusal(t, tt.policy, tt.pw, henry)
		if (got == "") != (len(tt.says) == 0) {
			t.Errorf("%q: %q", tt.pw, got)
		}
		for _, s := range tt.says {
			if !strings.Contains(got, s) {
				t.Errorf("%q: %q does not say %q", tt.pw, got, s)
			}
		}
	}
	if got := refusal(t, usual(), "HenryFord2026", Person{Address: addr.MustParse("anna@other.example")}); strings.Contains(got, "your own") {
		t.Errorf("a stranger: %q", got)
	}
}

// What is advised would do.
func TestAdvice(t *testing.T) {
	t.Parallel()
	for length, words := range map[int]string{
		8: "pelican turbine marzipan custard", 12: "pelican turbine marzipan custard", 24: "pelican turbine marzipan custard",
		64: "pelican turbine marzipan custard walrus oboe trellis gherkin magnet zeppelin tundra",
	} {
		p := usual()
		p.MinLength = length
		named := map[int]string{4: "Four ", 11: "Eleven "}[len(strings.Fields(words))]
		if got := refusal(t, p, "short", henry); !strings.Contains(got, ". "+named) {
			t.Errorf("%d: %q", length, got)
		}
		if got := refusal(t, p, words, henry); got != "" {
			t.Errorf("%d: %q", length, got)
		}
	}
	p := &Policy{History: 1}
	if got := p.Reused().Error(); !strings.Contains(got, "it is the one that this account has. Four") {
		t.Error(got)
	}
	p.History = 5
	if got := p.Reused().Error(); !strings.Contains(got, "it is one of the last 5 that this account had. Four") {
		t.Error(got)
	}
}

// A refusal holds nothing of the password: it is printed, and may be logged.
func TestRefusalHidesThePassword(t *testing.T) {
	t.Parallel()
	for _, pw := range []string{"hunter2", "Trustno1Trustno1", "henryfordhenryford", "qwertyuiopqwertyuiop"} {
		if got := refusal(t, usual(), pw, henry); got == "" || strings.Contains(strings.ToLower(got), strings.ToLower(pw[:6])) {
			t.Errorf("%q: %q", pw, got)
		}
	}
}

func TestLatin(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"abc": "abc", "Éàü": "Eau", "пп": "vv", "пр": "vw", "a\u0301": "a" + string(rune('a'+0x301%26)), "": "",
	} {
		if got := latin(in, 10); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := latin(strings.Repeat("é", 500), maxScored); len(got) != maxScored {
		t.Error(len(got))
	}
}

func TestParseClass(t *testing.T) {
	t.Parallel()
	for _, c := range Classes {
		if got, err := ParseClass(string(c)); got != c || err != nil {
			t.Error(c, err)
		}
	}
	if _, err := ParseClass("letters"); err == nil {
		t.Error("letters is no class")
	}
}

// Whatever is tried, the answer is a rating or a refusal, within its time.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"", "correct horse battery", "пароль", "p4$$w0rd!!", "4@8({[<3691!|170$5+7%2", "19.11.1999", "\U0001F40E", "a\u0301", strings.Repeat("4@($5{w0rd", 10)} {
		f.Add(s, "henry.ford")
	}
	f.Fuzz(func(t *testing.T, pw, local string) {
		if !utf8.ValidString(pw) || !utf8.ValidString(local) {
			return
		}
		who := Person{Address: addr.Address{Local: local, Domain: "example.org"}}
		_, err := usual().Check(pw, who)
		var r *Refusal
		if err != nil && !errors.As(err, &r) {
			t.Fatal(err)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for name, pw := range map[string]string{
		"words": "correct horse battery", "hundred": strings.Repeat("pelican turbine ", 6), "leet": strings.Repeat("4@8({[<3691!|170$5+7%2", 5),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				usual().Check(pw, henry)
			}
		})
	}
}
