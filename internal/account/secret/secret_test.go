package secret

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/xdg-go/stringprep"

	"gatepost/internal/account/turn"
	"gatepost/internal/clock"
)

// cheap is a cost for tests that hash a lot.
var cheap = Cost{Time: 1, Memory: 64, Lanes: 1}

func testHasher(runs int) (*Hasher, *atomic.Int64) {
	var n atomic.Int64
	return NewHasher(cheap, turn.New(clock.System, runs), rand.Reader, &n), &n
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"correct horse":              "correct horse",
		"caf\u0065\u0301":            "caf\u00e9",  // NFKC
		"au\u00a0lait\u00adx\u2003y": "au laitx y", // spaces become one, soft hyphens nothing
		"\u2168":                     "IX",
		"x":                          "x",
	} {
		if got, err := Prepare(in); err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", in, string(got), err)
		}
	}
	for in, want := range map[string]error{
		"":                               ErrEmpty,
		"\u00ad":                         ErrEmpty,
		"a\x00b":                         ErrCharacter,
		"a\nb":                           ErrCharacter,
		"a\xffb":                         ErrCharacter,
		"\U0001F40E battery":             ErrCharacter,
		"\u0627a":                        ErrCharacter, // RFC 3454, section 6
		strings.Repeat("x", MaxOctets+1): ErrTooLong,
	} {
		if got, err := Prepare(in); !errors.Is(err, want) || got != "" {
			t.Errorf("%.20q: %q, %v", in, string(got), err)
		}
	}
}

// The shortcut for printable ASCII changes nothing.
func TestPrepareIsSASLprep(t *testing.T) {
	t.Parallel()
	for c := rune(1); c < 0x180; c++ {
		in := string([]rune{'a', c, 'b'})
		want, err := stringprep.SASLprep.Prepare(in)
		got, gotErr := Prepare(in)
		if string(got) != want && err == nil || (err == nil) != (gotErr == nil) {
			t.Errorf("%q: %q, %v instead of %q, %v", in, string(got), gotErr, want, err)
		}
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"%v", "%s", "%+v"} {
		if out := fmt.Sprintf(format, struct{ P Password }{"hunter22"}); strings.Contains(out, "hunter22") {
			t.Errorf("%s prints %s", format, out)
		}
	}
}

func TestArgon2CostIsWhatWePromise(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	h := NewHasher(Argon2id, turn.New(clock.System, 1), rand.Reader, &n)
	s, err := h.Hash(context.Background(), "correct horse")
	if err != nil || !strings.HasPrefix(s, "$argon2id$v=19$m=65536,t=3,p=1$") {
		t.Fatalf("%s, %v", s, err)
	}
	if ok, err := verify(context.Background(), h, "correct horse", s); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestHash(t *testing.T) {
	t.Parallel()
	h, n := testHasher(2)
	ctx := context.Background()
	a, err := h.Hash(ctx, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := h.Hash(ctx, "correct horse"); a == b {
		t.Error("the salt repeats")
	}
	n.Store(0)
	for p, want := range map[Password]bool{"correct horse": true, "Correct horse": false, "correct horse ": false} {
		if ok, err := verify(ctx, h, p, a); ok != want || err != nil {
			t.Errorf("%q: %v, %v", string(p), ok, err)
		}
	}
	if n.Load() != 3 {
		t.Errorf("%d runs", n.Load())
	}
}

// A mark is the same for the same password and salt, and for nothing else.
func TestMark(t *testing.T) {
	t.Parallel()
	h, n := testHasher(1)
	seen := map[string]bool{}
	for _, p := range []Password{"correct horse", "correct horse", "Correct horse"} {
		for _, salt := range []string{"salt of sixteen.", "another of those"} {
			m, err := h.Mark(context.Background(), p, []byte(salt))
			if err != nil || len(m) != hashSize {
				t.Fatal(m, err)
			}
			seen[string(m)] = true
		}
	}
	if len(seen) != 4 || n.Load() != 6 {
		t.Errorf("%d marks of %d runs", len(seen), n.Load())
	}
}

// A damaged hash matches nothing, costs one run like any other, and cannot
// ask for more memory than there is.
func TestDamagedHash(t *testing.T) {
	t.Parallel()
	h, n := testHasher(1)
	good, err := h.Hash(context.Background(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Split(good, "$")
	with := func(i int, s string) string {
		g := append([]string(nil), f...)
		g[i] = s
		return strings.Join(g, "$")
	}
	empty := base64.RawStdEncoding.EncodeToString(nil)
	for _, bad := range []string{
		"", "$", "plain", good[:len(good)-1], good + "A", good + "$", " " + good,
		with(1, "argon2i"), with(2, "v=16"), with(2, ""),
		with(3, "m=64,t=1"), with(3, "m=64,t=0,p=1"), with(3, "m=64,t=1,p=0"), with(3, "m=-1,t=1,p=1"),
		with(3, "m=4294967295,t=1,p=1"), with(3, "m=64,t=4294967295,p=1"), with(3, "m=64,t=1,p=255"), with(3, "m=64,t=1,p=1,x=2"),
		with(3, "m=064,t=1,p=1"),
		with(4, empty), with(4, "!!!"), with(5, empty), with(5, "AAAA"), with(5, ""),
	} {
		before := n.Load()
		ok, err := verify(context.Background(), h, "correct horse", bad)
		if ok || err != nil {
			t.Errorf("%q: %v, %v", bad, ok, err)
		}
		if n.Load() != before+1 {
			t.Errorf("%q: %d runs", bad, n.Load()-before)
		}
	}
}

// verify is a place with one run.
func verify(ctx context.Context, h *Hasher, p Password, stored string) (bool, error) {
	done, err := h.Enter(ctx, turn.Who{})
	if err != nil {
		return false, err
	}
	defer done()
	return h.Verify(p, stored), nil
}

// The example of RFC 7677, section 3.
func TestScramVector(t *testing.T) {
	t.Parallel()
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewScramKeys("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	const message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," +
		"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	if got := base64.StdEncoding.EncodeToString(mac(k.Server[:], message)); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("server signature %s", got)
	}
	back, err := ParseScramKeys(k.Bytes())
	if err != nil || back != k {
		t.Errorf("%v, %v", back, err)
	}
	for _, n := range []int{0, 63, 65} {
		if _, err := ParseScramKeys(make([]byte, n)); !errors.Is(err, ErrScramKeys) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

func TestDevice(t *testing.T) {
	t.Parallel()
	seen := map[Password]bool{}
	for range 100 {
		p, err := NewDevice(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(strings.ReplaceAll(string(p), "-", "")); n*5 < 128 || seen[p] {
			t.Errorf("%q", string(p))
		}
		seen[p] = true
		if again, err := Prepare(string(p)); err != nil || again != p {
			t.Errorf("%q becomes %q, %v", string(p), string(again), err)
		}
		if !Matches(p, Sum(p)) || Matches(p+"x", Sum(p)) || Matches(p, nil) || Matches(p, Sum(p)[:31]) {
			t.Error("Matches is wrong")
		}
	}
	if _, err := NewDevice(strings.NewReader("few")); err == nil {
		t.Error("made without randomness")
	}
}

func BenchmarkArgon2id(b *testing.B) {
	var n atomic.Int64
	h := NewHasher(Argon2id, turn.New(clock.System, 1), rand.Reader, &n)
	for b.Loop() {
		if _, err := verify(context.Background(), h, "correct horse", ""); err != nil {
			b.Fatal(err)
		}
	}
}
