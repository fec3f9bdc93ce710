package breached

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

var made = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// hashed returns the passwords as a text of Have I Been Pwned.
func hashed(h Hash, passwords ...string) string {
	var list []string
	for _, p := range passwords {
		list = append(list, fmt.Sprintf("%016X%s:3\n", h.key(p), strings.Repeat("0", h.digits()-16)))
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

// list makes a list and opens it.
func list(t testing.TB, text string) (*List, []byte) {
	t.Helper()
	var b bytes.Buffer
	info, err := Convert(strings.NewReader(text), &b, made)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Read(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if l.Info() != info || info.Octets != int64(b.Len()) || !info.Made.Equal(made) {
		t.Errorf("%+v, and when it was made %+v, of %d octets", l.Info(), info, b.Len())
	}
	return l, b.Bytes()
}

// The hashes are those that the world uses: the first digits of two that are
// known from everywhere.
func TestHashes(t *testing.T) {
	t.Parallel()
	if k := SHA1.key("password"); k != 0x5BAA61E4C9B93F3F {
		t.Errorf("%X", k)
	}
	if k := NTLM.key("password"); k != 0x8846F7EAEE8FB117 {
		t.Errorf("%X", k)
	}
}

func TestListOfEachHash(t *testing.T) {
	t.Parallel()
	for _, h := range []Hash{SHA1, NTLM} {
		for _, n := range []int{1, 2, 3, 10, 1000} {
			var in []string
			for i := range n {
				in = append(in, fmt.Sprint("password", i))
			}
			l, _ := list(t, hashed(h, in...))
			if l.Info().Hash != h || l.Info().Passwords != uint64(n) {
				t.Errorf("%+v", l.Info())
			}
			for _, p := range in {
				if on, err := l.Contains(p); !on || err != nil {
					t.Errorf("%v: %s: %v, %v", h, p, on, err)
				}
			}
			if on, err := l.Contains("quite another"); on || err != nil {
				t.Errorf("%v: %v, %v", h, on, err)
			}
			if err := l.Verify(); err != nil {
				t.Error(err)
			}
		}
	}
}

// What people download differs in its line ends, in case, in its counts.
func TestSpellings(t *testing.T) {
	t.Parallel()
	sum := strings.TrimSuffix(hashed(SHA1, "password"), ":3\n")
	for _, text := range []string{
		sum, sum + "\n", sum + "\r\n", sum + ":1", sum + ":12345678  \r\n", strings.ToLower(sum) + ":1\r\n",
		sum + ":1\n" + sum + ":1\n", // one twice
		strings.Repeat("0", 40) + ":0\r\n" + sum + ":1\r\n" + strings.Repeat("0", 40) + ":0\r\n", // padding
	} {
		l, _ := list(t, text)
		if on, err := l.Contains("password"); !on || err != nil || l.Info().Passwords != 1 {
			t.Errorf("%q: %v, %v, %+v", text, on, err, l.Info())
		}
	}
}

func TestNoList(t *testing.T) {
	t.Parallel()
	a, b := hashed(SHA1, "a"), hashed(SHA1, "b")
	if a < b {
		a, b = b, a
	}
	for text, want := range map[string]string{
		"":                             "it is empty",
		"\n":                           "line 1: it is not a SHA-1 or NTLM hash",
		"password\n":                   "line 1: it is not",
		strings.Repeat("0", 39):        "line 1: it is not",
		strings.Repeat("0", 39) + "g":  "line 1: it is not",
		strings.Repeat("0", 40) + ":":  "line 1: it is not",
		strings.Repeat("0", 40) + ":x": "line 1: it is not",
		strings.Repeat("0", 40) + ":0": "it holds no passwords",
		b + strings.Repeat("0", 1<<20): "line 2: it is not",
		a + strings.Repeat("x", 200):   "line 2: it is not",
		a + b:                          "line 2: it comes after a greater one",
		b + hashed(NTLM, "a"):          "line 2: it is of another length",
	} {
		var out bytes.Buffer
		if _, err := Convert(strings.NewReader(text), &out, made); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50q: %v; want %q", text, err, want)
		}
	}
}

// ranges returns the passwords as a directory of ranges of two digits.
func ranges(h Hash, passwords ...string) fstest.MapFS {
	dir := fstest.MapFS{}
	for i := range 256 {
		dir[fmt.Sprintf("%02X.txt", i)] = &fstest.MapFile{Data: []byte(strings.Repeat("0", h.digits()-2) + ":0\r\n")}
	}
	for line := range strings.Lines(hashed(h, passwords...)) {
		f := dir[line[:2]+".txt"]
		f.Data = append([]byte(line[2:len(line)-1]+"\r\n"), f.Data...) // in the wrong order
	}
	return dir
}

func TestRanges(t *testing.T) {
	t.Parallel()
	var in []string
	for i := range 2000 {
		in = append(in, fmt.Sprint("password", i))
	}
	for _, h := range []Hash{SHA1, NTLM} {
		dir := ranges(h, in...)
		dir["07"], dir["07.txt"] = dir["07.txt"], nil
		delete(dir, "07.txt")
		var out, plain bytes.Buffer
		steps := int64(0)
		info, err := convertRanges(dir, 2, &out, made, func(done, total int64) { steps = done * total })
		if err != nil || info.Passwords != 2000 || info.Hash != h || steps != 256*256 {
			t.Errorf("%+v, %v, %d", info, err, steps)
		}
		if _, err := Convert(strings.NewReader(hashed(h, in...)), &plain, made); err != nil || !bytes.Equal(plain.Bytes(), out.Bytes()) {
			t.Errorf("%v: it is not the list that one text makes: %v", h, err)
		}
	}
	for what, tt := range map[string]struct {
		change func(fstest.MapFS)
		want   string
	}{
		"missing":        {func(d fstest.MapFS) { delete(d, "FF.txt") }, "range FF: its file is missing"},
		"empty":          {func(d fstest.MapFS) { d["10.txt"].Data = nil }, "range 10: its file is empty"},
		"a page":         {func(d fstest.MapFS) { d["A0.txt"].Data = []byte("<html>") }, "range A0: line 1: it is not"},
		"of another":     {func(d fstest.MapFS) { d["A0.txt"] = ranges(NTLM, "a")["A0.txt"] }, "range A0: it has hashes of another length"},
		"mixed":          {func(d fstest.MapFS) { d["A0.txt"].Data = append(d["A0.txt"].Data, ranges(NTLM)["A0.txt"].Data...) }, "of another length than those before it"},
		"without end":    {func(d fstest.MapFS) { d["01.txt"].Data = bytes.Repeat(d["01.txt"].Data[:42], maxRange+1) }, "range 01: line 65537: there are more"},
		"all of padding": {func(d fstest.MapFS) { clear(d); maps(d, ranges(SHA1)) }, "it holds no passwords"},
	} {
		dir := ranges(SHA1, in...)
		tt.change(dir)
		if what == "without end" {
			dir["01.txt"].Data = bytes.Repeat([]byte(strings.Repeat("0", 38)+":1\n"), maxRange+1)
		}
		var out bytes.Buffer
		if _, err := convertRanges(dir, 2, &out, made, func(int64, int64) {}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", what, err, tt.want)
		}
	}
}

func maps(to, from fstest.MapFS) {
	for name, f := range from {
		to[name] = f
	}
}

// many is a text of n random hashes in order.
func many(n int) string {
	random := rand.New(rand.NewPCG(3, 4))
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = random.Uint64()
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%016X%024d:1\n", k, 0)
	}
	return b.String()
}

// A list of several shards knows all that is in it, first and last of each
// shard too.
func TestShards(t *testing.T) {
	t.Parallel()
	const n = 2*shardKeys + 1000
	text := many(n)
	l, raw := list(t, text)
	if len(l.index) != 3 || l.Info().Passwords != n {
		t.Fatalf("%d shards, %+v", len(l.index), l.Info())
	}
	if err := l.hold(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		p, err := parseLine([]byte(strings.TrimSpace(line)), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if on, err := l.contains(p.key); !on || err != nil {
			t.Fatalf("%s: %v, %v", line, on, err)
		}
	}
	if on, err := l.contains(0); on || err != nil {
		t.Errorf("before the first: %v, %v", on, err)
	}
	if per := float64(len(raw)) / n; per > 2.4 {
		t.Errorf("%.2f octets a password", per)
	}
}

// Damage is an error, wherever it is, and never an answer.
func TestDamage(t *testing.T) {
	t.Parallel()
	var in []string
	for i := range 40 {
		in = append(in, fmt.Sprint("password", i))
	}
	_, good := list(t, hashed(SHA1, in...))
	look := func(b []byte) error {
		l, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return err
		}
		for _, p := range in {
			if on, err := l.Contains(p); !on || err != nil {
				if err == nil {
					t.Errorf("%s was forgotten", p)
				}
				return err
			}
		}
		return l.Verify()
	}
	if err := look(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		if err := look(bad); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrNewer) {
			t.Errorf("octet %d of %d: %v", i, len(good), err)
		}
	}
	for n := range good {
		if err := look(good[:n]); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
			t.Errorf("cut to %d of %d: %v", n, len(good), err)
		}
	}
	for what, b := range map[string][]byte{"more behind it": append(slices.Clone(good), 0), "twice": append(slices.Clone(good), good...)} {
		if err := look(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	newer := slices.Clone(good)
	newer[len(newer)-footerSize] = version + 1
	if err := look(newer); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer one: %v", err)
	}
	if err := look([]byte("PK\x03\x04 something else")); !errors.Is(err, ErrForeign) {
		t.Errorf("something else: %v", err)
	}
}

// seal makes the checksum of a footer right, so that a fuzzer gets past it.
func seal(b []byte) {
	if len(b) < len(magic)+footerSize {
		return
	}
	footer := b[len(b)-footerSize:]
	n := int(binary.LittleEndian.Uint32(footer[4:]))
	at := len(b) - footerSize - n*entrySize
	copy(b, magic)
	copy(footer[28:], magic)
	if n <= maxShards && at >= 0 {
		binary.LittleEndian.PutUint32(footer[24:], crc32.Checksum(b[at:len(b)-footerSize+24], castagnoli))
	}
}

// Whatever is in a file, reading it ends, without a panic; the second half of
// the runs has checksums that are right, and shards whose sums are.
func FuzzRead(f *testing.F) {
	_, good := list(f, hashed(SHA1, "a", "b", "c"))
	f.Add(good, false)
	f.Add(good, true)
	_, good = list(f, hashed(NTLM, "a"))
	f.Add(good, true)
	f.Add([]byte(magic), false)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		b = slices.Clone(b)
		if sealed {
			seal(b)
		}
		l, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for i := range l.index {
			e := &l.index[i]
			if end := e.offset + 2*e.fingerprints(); sealed && e.offset >= 0 && end <= int64(len(b)) {
				e.sum = crc32.Checksum(b[e.offset:end], castagnoli)
			}
		}
		l.Verify()
		for _, key := range []uint64{0, 1 << 63, 1<<64 - 1, SHA1.key("a")} {
			l.contains(key)
		}
	})
}

// Whatever is in a text, it becomes a list that holds what its lines say, or
// an error.
func FuzzConvert(f *testing.F) {
	f.Add(hashed(SHA1, "a", "b"))
	f.Add(hashed(NTLM, "a", "b"))
	f.Add(strings.ReplaceAll(hashed(SHA1, "a"), "\n", " \r\n") + strings.Repeat("F", 40) + ":0")
	f.Fuzz(func(t *testing.T, text string) {
		var out bytes.Buffer
		if _, err := Convert(strings.NewReader(text), &out, made); err != nil {
			return
		}
		l, err := Read(bytes.NewReader(out.Bytes()), int64(out.Len()))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			p, err := parseLine([]byte(strings.TrimSuffix(line, "\n")), 0, 0)
			if err != nil || p.padding {
				continue
			}
			if on, err := l.contains(p.key); !on || err != nil {
				t.Fatalf("%q: %v, %v", line, on, err)
			}
		}
		if _, _, err := readRange(fstest.MapFS{"00000": {Data: []byte(text)}}, "00000", 0); err == nil && len(text) == 0 {
			t.Error("an empty range")
		}
	})
}

// BenchmarkLarge looks up a password on a list that is read from the disk,
// opened each time.
func BenchmarkLarge(b *testing.B) {
	path := filepath.Join(b.TempDir(), "large")
	_, raw := list(b, many(1<<20))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		l, err := Read(f, int64(len(raw)))
		if err != nil {
			b.Fatal(err)
		}
		if on, err := l.Contains("correct horse battery"); on || err != nil {
			b.Fatal(on, err)
		}
		f.Close()
	}
}

// BenchmarkConvert turns a text into a list.
func BenchmarkConvert(b *testing.B) {
	text := many(1 << 20)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		var out bytes.Buffer
		if _, err := Convert(strings.NewReader(text), &out, made); err != nil {
			b.Fatal(err)
		}
	}
}
