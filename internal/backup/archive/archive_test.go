package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var made = time.Date(2026, 11, 22, 3, 29, 0, 0, time.UTC)

// member is one of an archive.
type member struct{ name, content string }

// standard are the members of a small backup, after the head.
func standard() []member {
	return []member{
		{Config, "hostname = \"mx.example.org\"\n"}, {Files + "0-key.pem", "key"}, {Keys + "secret", strings.Repeat("s", 32)},
		{Store, strings.Repeat("page", 500)}, {Queue + "06h0344kwe1xwr3400m9b2t5q8", "message"}, {Mail + "m-06h0344kwe1xwr3400m9b2t5q8", ""},
	}
}

// write makes an archive of members; edit may change the writer's account.
func write(t testing.TB, list []member, m Manifest) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewWriter(context.Background(), &b, made)
	err := w.Head(&Head{Format: Format, Made: made, Hostname: "mx.example.org", Octets: 7})
	for _, x := range list {
		err = errors.Join(err, w.AddBytes(x.name, []byte(x.content)))
	}
	if m.Format == 0 {
		m.Format = Format
	}
	if err := errors.Join(err, w.Finish(&m)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func counts(list []member) Manifest {
	m := Manifest{Made: made, Damage: []string{}}
	for _, x := range list {
		if strings.HasPrefix(x.name, Queue) {
			m.Queued++
		} else if strings.HasPrefix(x.name, Mail) {
			m.Files++
		}
	}
	return m
}

// taken remembers what it was given.
type taken struct {
	h    *Head
	list []member
	skip bool // leaves contents unread
}

func (k *taken) Head(h *Head) error {
	k.h = h
	return nil
}

func (k *taken) Member(place, name string, size int64, content io.Reader) error {
	if k.skip {
		return nil
	}
	b, err := io.ReadAll(content)
	if err == nil && int64(len(b)) != size {
		err = fmt.Errorf("%d octets of %d", len(b), size)
	}
	k.list = append(k.list, member{place + name, string(b)})
	return err
}

func read(b []byte, k *taken) (*Manifest, error) {
	return Read(context.Background(), bytes.NewReader(b), k, func(int64) {})
}

func TestWriteAndRead(t *testing.T) {
	t.Parallel()
	for _, more := range []int{0, 1, every - 8, every - 7, every - 6, 2*every + 5} {
		list := standard()
		for i := range more {
			list = append(list, member{fmt.Sprintf("%s%026d", Queue, i), fmt.Sprint("message ", i)})
		}
		b := write(t, list, counts(list))
		k := &taken{}
		m, err := read(b, k)
		if err != nil || !slices.Equal(k.list, list) || k.h.Hostname != "mx.example.org" || k.h.Octets != 7 {
			t.Errorf("%d more: %v, %d members of %d", more, err, len(k.list), len(list))
			continue
		}
		if m.Queued != int64(more+1) || m.Files != 1 || m.Members != int64(len(list)+1) {
			t.Errorf("%d more: %+v", more, m)
		}
		if _, err := read(b, &taken{skip: true}); err != nil {
			t.Errorf("%d more, left unread: %v", more, err)
		}
	}
}

// contents returns the members as any tar reader sees them, "" if it cannot.
func contents(b []byte) string {
	var s strings.Builder
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return s.String()
		}
		if err != nil {
			return ""
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return ""
		}
		fmt.Fprintf(&s, "%d %q %q\n", h.Typeflag, h.Name, content)
	}
}

// A bit that is not what was written is noticed, unless it means nothing: in
// what fills up the blocks of the archive, and in times and owners.
func TestEveryFlip(t *testing.T) {
	t.Parallel()
	list := standard()
	b := write(t, list, counts(list))
	same := contents(b)
	random := rand.New(rand.NewPCG(1, 1))
	noticed, tried := 0, 0
	for i := 0; i < len(b); i += 1 + random.IntN(9) {
		tried++
		damaged := slices.Clone(b)
		damaged[i] ^= 1 << random.IntN(8)
		_, err := read(damaged, &taken{})
		switch {
		case err == nil && contents(damaged) != same:
			t.Fatalf("a flip at %d passes unnoticed", i)
		case err != nil && !errors.Is(err, ErrBroken) && !strings.Contains(err.Error(), "newer Gatepost"):
			t.Fatalf("a flip at %d: %v", i, err)
		case err != nil:
			noticed++
		}
	}
	if noticed < tried/3 {
		t.Errorf("%d of %d flips were noticed", noticed, tried)
	}
	// The member that is damaged is named.
	at := bytes.Index(b, []byte("pagepage"))
	b[at] ^= 1
	if _, err := read(b, &taken{}); err == nil || !strings.Contains(err.Error(), Store) {
		t.Errorf("a damaged store: %v", err)
	}
}

// Whatever is cut off, the rest is not taken for a backup, but for the blocks
// of zeros that end an archive.
func TestEveryCut(t *testing.T) {
	t.Parallel()
	list := standard()
	b := write(t, list, counts(list))
	whole := len(bytes.TrimRight(b, "\x00"))
	for n := 0; n < whole; n++ {
		if n%512 > 1 && n%7 > 0 && n < whole-100 {
			continue
		}
		_, err := read(b[:n], &taken{})
		if !errors.Is(err, ErrBroken) {
			t.Fatalf("cut at %d of %d: %v", n, len(b), err)
		}
	}
}

// edited returns the archive with its members rewritten by a tar writer that
// keeps no account.
func edited(t *testing.T, b []byte, edit func(i int, h *tar.Header, content []byte) []member) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	r := tar.NewReader(bytes.NewReader(b))
	for i := 0; ; i++ {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		content, rerr := io.ReadAll(r)
		if err != nil || rerr != nil {
			t.Fatal(err, rerr)
		}
		for _, m := range edit(i, h, content) {
			h := *h
			h.Format, h.Name, h.Size = tar.FormatUnknown, m.name, int64(len(m.content))
			if h.Typeflag != tar.TypeReg {
				h.Size = 0
			}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				if _, err := io.WriteString(w, m.content); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func keep(_ int, h *tar.Header, content []byte) []member {
	return []member{{h.Name, string(content)}}
}

// Members that were taken out, put in, moved, renamed or repeated are noticed,
// and kinds that a backup does not have.
func TestHostile(t *testing.T) {
	t.Parallel()
	list := standard()
	good := write(t, list, counts(list))
	if _, err := read(edited(t, good, keep), &taken{}); err != nil {
		t.Fatalf("rewritten by tar: %v", err)
	}
	at := func(n int, f func(h *tar.Header, content []byte) []member) func(int, *tar.Header, []byte) []member {
		return func(i int, h *tar.Header, content []byte) []member {
			if i == n {
				return f(h, content)
			}
			return keep(i, h, content)
		}
	}
	kind := func(flag byte, link string) func(*tar.Header, []byte) []member {
		return func(h *tar.Header, content []byte) []member {
			h.Typeflag, h.Linkname = flag, link
			return []member{{h.Name, ""}}
		}
	}
	last := 2 + len(list)
	edits := map[string]func(int, *tar.Header, []byte) []member{
		"nothing at all": func(int, *tar.Header, []byte) []member { return nil },
		"no head":        at(0, func(*tar.Header, []byte) []member { return nil }),
		"no sums":        at(last-1, func(*tar.Header, []byte) []member { return nil }),
		"no manifest":    at(last, func(*tar.Header, []byte) []member { return nil }),
		"a member less":  at(5, func(*tar.Header, []byte) []member { return nil }),
		"a member twice": at(5, func(h *tar.Header, c []byte) []member { return []member{{h.Name, string(c)}, {h.Name, string(c)}} }),
		"a member more":  at(5, func(h *tar.Header, c []byte) []member { return []member{{h.Name, string(c)}, {Queue + "0", "x"}} }),
		"another name":   at(5, func(_ *tar.Header, c []byte) []member { return []member{{Queue + "0", string(c)}} }),
		"behind the end": at(last, func(h *tar.Header, c []byte) []member { return []member{{h.Name, string(c)}, {Queue + "0", "x"}} }),
		"another manifest": at(last, func(h *tar.Header, c []byte) []member {
			return []member{{h.Name, strings.Replace(string(c), "1", "2", 1)}}
		}),
		"sums first":      at(1, func(h *tar.Header, c []byte) []member { return []member{{sums + "00000000", ""}, {h.Name, string(c)}} }),
		"sums of later":   at(last-1, func(_ *tar.Header, c []byte) []member { return []member{{sums + "00000001", string(c)}} }),
		"a symbolic link": at(4, kind(tar.TypeSymlink, "/etc/passwd")),
		"a hard link":     at(4, kind(tar.TypeLink, "/etc/passwd")),
		"a device":        at(4, kind(tar.TypeChar, "")),
		"a pipe":          at(4, kind(tar.TypeFifo, "")),
		"an attribute of ACL": at(4, func(h *tar.Header, c []byte) []member {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "y"}
			return keep(0, h, c)
		}),
		"a huge configuration": at(1, func(h *tar.Header, _ []byte) []member { return []member{{h.Name, strings.Repeat("x", MaxSmall+1)}} }),
		"a huge head":          at(0, func(h *tar.Header, _ []byte) []member { return []member{{h.Name, strings.Repeat("x", MaxSmall+1)}} }),
		"a huge manifest":      at(last, func(h *tar.Header, _ []byte) []member { return []member{{h.Name, strings.Repeat("x", MaxSmall+1)}} }),
	}
	for _, name := range []string{
		"../x", "/etc/passwd", "queue/../x", "queue/../../x", "queue/.x", "queue/a/b", "queue/a b", "queue/a\nb", "Queue/x",
		"x", "blobs/x", "keys/../x", "store.db/x", "./store.db", "mail//x", strings.Repeat("x", 99), "queue/" + strings.Repeat("x", 200), "queue/ä",
	} {
		edits[fmt.Sprintf("the name %q", name)] = at(5, func(_ *tar.Header, c []byte) []member { return []member{{name, string(c)}} })
	}
	for name, edit := range edits {
		if _, err := read(edited(t, good, edit), &taken{}); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The same with an account that agrees: whoever makes an archive can make
	// that too.
	for _, name := range []string{"../x", "/etc/passwd", "queue/../x", "queue/.x", "x", "blobs/x", "keys/a/b", Store, Config, Keys + "secret", head, manifest + "x"} {
		list := append(standard(), member{name, "x"})
		if _, err := read(write(t, list, counts(list)), &taken{}); !errors.Is(err, ErrBroken) {
			t.Errorf("with an account, %q: %v", name, err)
		}
	}
	for i := range 4 {
		if i == 1 {
			continue // a file that the configuration names need not be there
		}
		list := slices.Delete(standard(), i, i+1)
		if _, err := read(write(t, list, counts(list)), &taken{}); !errors.Is(err, ErrBroken) {
			t.Errorf("with an account, without %s: %v", standard()[i].name, err)
		}
	}
	m := counts(list)
	m.Queued++
	if _, err := read(write(t, list, m), &taken{}); !errors.Is(err, ErrBroken) {
		t.Errorf("another number of messages: %v", err)
	}
}

// resum makes the checksum of a block of headers right.
func resum(block []byte) {
	copy(block[148:156], "        ")
	sum := 0
	for _, c := range block {
		sum += int(c)
	}
	copy(block[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// A sparse file has a size that the archive does not have.
func TestSparse(t *testing.T) {
	t.Parallel()
	list := standard()
	good := write(t, list, counts(list))
	at := bytes.Index(good, []byte(Store+"\x00"))

	gnu := slices.Clone(good)
	block := gnu[at : at+512]
	block[156] = 'S'
	copy(block[257:265], "ustar  \x00")
	copy(block[386:410], "00000000000\x0000000000000\x00") // no data
	copy(block[483:495], "77777777777\x00")                // and 8 GiB of nothing
	resum(block)

	const records = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n34 GNU.sparse.realsize=8589934592\n"
	pax := make([]byte, 1024)
	copy(pax, good[at:at+512])
	pax[156] = 'x'
	copy(pax[124:136], fmt.Sprintf("%011o\x00", len(records)))
	resum(pax[:512])
	copy(pax[512:], records)
	posix := slices.Concat(good[:at], pax, good[at:])

	for name, b := range map[string][]byte{"GNU": gnu, "POSIX": posix} {
		if _, err := read(b, &taken{}); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

func TestNewerIsRefused(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := NewWriter(context.Background(), &b, made)
	if err := w.Head(&Head{Format: Format + 1}); err != nil {
		t.Fatal(err)
	}
	_, err := read(b.Bytes(), &taken{})
	if err == nil || errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "newer Gatepost") {
		t.Error(err)
	}
	list := standard()
	m := counts(list)
	m.Format = Format + 1
	if _, err := read(write(t, list, m), &taken{}); err == nil || !strings.Contains(err.Error(), "newer Gatepost") {
		t.Error(err)
	}
}

func TestNoArchive(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "hello", strings.Repeat("x", 2000), strings.Repeat("\x00", 10240)} {
		if _, err := read([]byte(text), &taken{}); !errors.Is(err, ErrBroken) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	list := standard()
	b := write(t, list, counts(list))
	cancel()
	if _, err := Read(ctx, bytes.NewReader(b), &taken{}, func(int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("reading: %v", err)
	}
	if err := NewWriter(ctx, io.Discard, made).AddBytes(Config, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("writing: %v", err)
	}
}

// A member has the size that was announced, or there is no archive.
func TestAnnouncedSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{2, 4} {
		w := NewWriter(context.Background(), io.Discard, made)
		if err := w.Add(Config, size, strings.NewReader("abc")); err == nil {
			t.Errorf("3 octets were taken for %d", size)
		}
	}
}

func TestTamed(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"key.pem": "key.pem", "my key": "my_key", "..": "..", "a/b": "a_b", "ä\n": "__", strings.Repeat("x", 200): strings.Repeat("x", 50),
	} {
		if got := Tamed(name); got != want || !Plain("0-"+got) {
			t.Errorf("%q became %q", name, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	list := standard()
	f.Add(write(f, list, counts(list)))
	f.Add([]byte("backup.json"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k := &taken{}
		m, err := read(b, k)
		if err != nil {
			return
		}
		if m.Members != int64(len(k.list)+1) {
			t.Errorf("%d members of %d", len(k.list), m.Members)
		}
		for _, x := range k.list {
			if i := strings.LastIndexByte(x.name, '/'); !Plain(x.name[i+1:]) || !slices.Contains([]string{"", Files, Keys, Queue, Mail}, x.name[:i+1]) {
				t.Errorf("a member called %q", x.name)
			}
		}
	})
}
