package factor

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatepost/internal/clock"
	"gatepost/internal/keys"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKeys(t testing.TB) *keys.Keys {
	t.Helper()
	k, err := keys.Open(filepath.Join(t.TempDir(), "keys"), keys.Options{
		Clock: clock.NewFake(start), Random: rand.Reader, Log: slog.New(slog.DiscardHandler), SelfSigned: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// RFC 6238, appendix B, for SHA-1; ours are the last six of its eight digits.
func TestVectors(t *testing.T) {
	t.Parallel()
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471",
		1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		if got := totp(secret, Step(time.Unix(at, 0))); got != want[2:] {
			t.Errorf("at %d: %s instead of %s", at, got, want[2:])
		}
	}
}

// A code is good for its step and the ones beside it, by our clock and by the
// device's, and for none that was used.
func TestStep(t *testing.T) {
	t.Parallel()
	secret := []byte("12345678901234567890")
	const now = 59_000_000
	for _, c := range []struct {
		what            string
		of, drift, last int64
		want            bool
	}{
		{"now", 0, 0, 0, true}, {"the one before", -1, 0, 0, true}, {"the one after", 1, 0, 0, true},
		{"two before", -2, 0, 0, false}, {"two after", 2, 0, 0, false},
		{"used", 0, 0, now, false}, {"an older one than was used", -1, 0, now, false}, {"a later one", 1, 0, now, true},
		{"of a clock that is late", -4, -3, 0, true}, {"a little later", -2, -3, 0, true}, {"too late for it", -5, -3, 0, false},
		{"of a clock that was set right", 0, -3, 0, true}, {"between the two", -1, 4, 0, true}, {"neither", 2, 4, 0, false},
		{"of a clock that is early", 5, 4, 0, true}, {"of a clock that is early, used", 5, 4, now + 5, false},
	} {
		step, ok := ReadCode(totp(secret, now+c.of)).Step(secret, now, c.drift, c.last)
		if ok != c.want || ok && step != now+c.of {
			t.Errorf("%s: %d, %v", c.what, step-now, ok)
		}
	}
	for _, typed := range []string{"", "12345", "1234567", "abcdef", "one two"} {
		if _, ok := ReadCode(typed).Step(secret, now, 0, 0); ok {
			t.Errorf("%q was right", typed)
		}
	}
	for step, want := range map[int64]int64{-9: -maxDrift, -1: -1, 0: 0, 3: 3, 9: maxDrift} {
		if got := Drift(now+step, now); got != want {
			t.Errorf("drift of %d: %d", step, got)
		}
	}
}

// Codes are read as people type them.
func TestReadCode(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]Code{
		"123456": {digits: "123456"}, " 123 456\n": {digits: "123456"}, "l23-4S6": {},
		"7k3m-9x2q-p4rt-zn8v": {recovery: "7k3m9x2qp4rtzn8v"}, "7K3M 9X2Q P4RT ZN8V": {recovery: "7k3m9x2qp4rtzn8v"},
		"Ok3m-Lx2q-i4rt-znov": {recovery: "0k3m1x2q14rtzn0v"}, "7k3m-9x2q-p4rt-zn8u": {}, "7k3m-9x2q-p4rt-zn8": {},
		"": {}, "１２３４５６": {}, "123456" + strings.Repeat(" ", maxTyped): {},
	} {
		if got := ReadCode(typed); got != want {
			t.Errorf("%q: %q, %q", typed, got.digits, got.recovery)
		}
	}
	if s := fmt.Sprintf("%v %s", ReadCode("123456"), ReadCode("123456")); strings.Contains(s, "123") {
		t.Errorf("shown: %s", s)
	}
}

// What an app is given says who, where and which way.
func TestURI(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(URI([]byte("12345678901234567890"), "mx.example.org", `a&b?c=d/"é:x@example.org`))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != `/mx.example.org:a&b?c=d/"é:x@example.org` || len(q) != 5 ||
		q.Get("secret") != "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" || q.Get("issuer") != "mx.example.org" ||
		q.Get("algorithm") != "SHA1" || q.Get("digits") != "6" || q.Get("period") != "30" {
		t.Errorf("%s", u)
	}
}

// Each of a set is another, is found among what is kept, and only by its
// account.
func TestRecovery(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	list, err := NewRecovery(rand.Reader)
	if err != nil || len(list) != RecoveryCodes {
		t.Fatalf("%v, %v", list, err)
	}
	var sums [][]byte
	seen := map[string]bool{}
	for _, code := range list {
		sums = append(sums, ReadCode(code).Sum(k, 7))
		seen[code] = true
		if len(code) != 19 || ReadCode(code).recovery == "" {
			t.Errorf("%q", code)
		}
	}
	if len(seen) != RecoveryCodes {
		t.Errorf("some are the same: %q", list)
	}
	for i, code := range list {
		if got := ReadCode(strings.ToUpper(code)).Recovery(k, 7, sums); string(got) != string(sums[i]) {
			t.Errorf("%d is not found", i)
		}
		if ReadCode(code).Recovery(k, 8, sums) != nil {
			t.Errorf("%d opens another account", i)
		}
	}
	for _, typed := range []string{"", "123456", "0000-0000-0000-0000"} {
		if ReadCode(typed).Recovery(k, 7, append(sums, ReadCode("").Sum(k, 7))) != nil {
			t.Errorf("%q is found", typed)
		}
	}
	if _, err := NewRecovery(strings.NewReader("short")); err == nil {
		t.Error("made of too little")
	}
}

// What was begun is ended by the same account, in time, and as it was.
func TestBegun(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	secret, err := NewSecret(rand.Reader)
	if err != nil || len(secret) != secretSize {
		t.Fatal(err)
	}
	state := Begin(k, 7, start, secret)
	if got, err := Begun(k, 7, start.Add(begunFor-time.Second), state); err != nil || string(got) != string(secret) {
		t.Errorf("%x, %v", got, err)
	}
	other := Begin(newKeys(t), 7, start, secret)
	for what, try := range map[string]func() ([]byte, error){
		"another account": func() ([]byte, error) { return Begun(k, 8, start, state) },
		"too late":        func() ([]byte, error) { return Begun(k, 7, start.Add(begunFor), state) },
		"changed":         func() ([]byte, error) { return Begun(k, 7, start, "A"+state[1:]) },
		"no state":        func() ([]byte, error) { return Begun(k, 7, start, "") },
		"not base64":      func() ([]byte, error) { return Begun(k, 7, start, "~") },
		"too long":        func() ([]byte, error) { return Begun(k, 7, start, strings.Repeat("A", maxState+1)) },
		"elsewhere":       func() ([]byte, error) { return Begun(k, 7, start, other) },
	} {
		if got, err := try(); err != ErrBegun || got != nil {
			t.Errorf("%s: %x, %v", what, got, err)
		}
	}
	kept := Seal(k, 7, 3, secret)
	if got, err := Unseal(k, 7, 3, kept); err != nil || string(got) != string(secret) {
		t.Errorf("%x, %v", got, err)
	}
	if _, err := Unseal(k, 7, 4, kept); err == nil {
		t.Error("a secret was moved to another row")
	}
}

// Whatever is typed is a code of six digits, one of sixteen letters, or
// nothing, and reading it again changes nothing.
func FuzzReadCode(f *testing.F) {
	for _, s := range []string{"123456", "7k3m-9x2q-p4rt-zn8v", " OIL oil ", "\x00\xff", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		c := ReadCode(typed)
		switch {
		case c == Code{}:
		case len(c.digits) == digits && c.recovery == "" && ReadCode(c.digits) == c:
		case len(c.recovery) == recoveryLetters && c.digits == "" && ReadCode(c.recovery) == c:
		default:
			t.Errorf("%q: %q, %q", typed, c.digits, c.recovery)
		}
	})
}
