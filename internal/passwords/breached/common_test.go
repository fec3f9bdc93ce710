package breached

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write common.list anew")

// corpus returns the passwords of both lists.
func corpus(t testing.TB) (django, zxcvbn []string) {
	t.Helper()
	f, err := os.Open("testdata/django/common-passwords.txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	django = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	array, err := os.ReadFile("testdata/zxcvbn-ts/passwords.json")
	if err == nil {
		err = json.Unmarshal(array, &zxcvbn)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(django) != 19727 || len(zxcvbn) != 49233 {
		t.Fatalf("%d and %d passwords", len(django), len(zxcvbn))
	}
	return django, zxcvbn
}

// TestCommon keeps common.list what the corpora make, and expects it to know
// every password of both.
func TestCommon(t *testing.T) {
	t.Parallel()
	django, zxcvbn := corpus(t)
	all := slices.Concat(django, zxcvbn)
	var made bytes.Buffer
	if _, err := Convert(strings.NewReader(hashed(SHA1, all...)), &made, time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("common.list", made.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	now, err := os.ReadFile("common.list")
	if err != nil || !bytes.Equal(now, made.Bytes()) {
		t.Fatalf("common.list is not what testdata makes (%v); run go generate ./internal/passwords/breached", err)
	}
	if *update {
		return // what is embedded is still the old one
	}
	l, err := Common()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if on, err := l.Contains(p); !on || err != nil {
			t.Fatalf("%q is not on it: %v", p, err)
		}
	}
	t.Logf("%d passwords in %d octets", l.Info().Passwords, l.Info().Octets)
}

// strangers is how many keys that are on no list the test of false positives
// looks for.
const strangers = 4_000_000

// What is on no list is taken for one of it less than once in 10,000, also
// when it is looked for as it is and in lower case, on two lists.
func TestFalsePositives(t *testing.T) {
	t.Parallel()
	l, err := Common()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	wrong := 0
	for range strangers {
		on, err := l.contains(random.Uint64())
		if err != nil {
			t.Fatal(err)
		}
		if on {
			wrong++
		}
	}
	t.Logf("%d of %d: 1 in %d", wrong, strangers, strangers/max(wrong, 1))
	if 4*wrong*10_000 >= strangers {
		t.Errorf("%d of %d", wrong, strangers)
	}
}

func BenchmarkCommon(b *testing.B) {
	l, err := Common()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if on, err := l.Contains("correct horse battery"); on || err != nil {
			b.Fatal(on, err)
		}
	}
}
