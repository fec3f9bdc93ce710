package lines

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestCanon(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", piece-1)
	for _, c := range []struct{ in, want, note string }{
		{"", "", "\x00"},
		{"a\nb\n", "a\r\nb\r\n", "\x00"},
		{"a\r\nb\r\n", "a\r\nb\r\n", ""},
		{"a\nb\r\nc\r\nd\n", "a\r\nb\r\nc\r\nd\r\n", "\x00\x01\x02"},
		{"a\r\nb\n", "a\r\nb\r\n", "\x00\x00\x01"},
		{"a", "a\r\n", "\x01"},
		{"a\r\nb", "a\r\nb\r\n", "\x01\x00"},
		{"a\rb\r\r\n\r", "a\rb\r\r\n\r\r\n", "\x01\x00"},
		{"\x00\xff\n", "\x00\xff\r\n", "\x00"},
		{long + "\r\n" + long + "\n", long + "\r\n" + long + "\r\n", "\x00\x00\x01"},
		{long + "\rx\n", long + "\rx\r\n", "\x00"},
		{long + "\r", long + "\r\r\n", "\x01"},
		{long + "y", long + "y\r\n", "\x01"},
	} {
		canon := NewCanon(strings.NewReader(c.in))
		got, err := io.ReadAll(iotest.OneByteReader(canon))
		note, err2 := canon.Note()
		if string(got) != c.want || err != nil || string(note) != c.note || err2 != nil {
			t.Errorf("%.20q: %.40q, note %q, %v, %v", c.in, got, note, err, err2)
		}
		back, err := Restore(bytes.NewReader(got), note)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := io.ReadAll(iotest.OneByteReader(back)); string(again) != c.in || err != nil {
			t.Errorf("%.20q came back as %.40q, %v", c.in, again, err)
		}
	}
}

// A message whose ends change at every line keeps no note, and is whole.
func TestMany(t *testing.T) {
	t.Parallel()
	c := NewCanon(strings.NewReader("x"))
	c.Reset(strings.NewReader(strings.Repeat("a\nb\r\n", MaxNote)))
	got, err := io.ReadAll(c)
	note, many := c.Note()
	if string(got) != strings.Repeat("a\r\nb\r\n", MaxNote) || err != nil || len(note) != 0 || !errors.Is(many, ErrMany) {
		t.Errorf("%d octets, note of %d, %v, %v", len(got), len(note), err, many)
	}
	c.Reset(strings.NewReader("a\n"))
	if _, err := io.ReadAll(c); err != nil {
		t.Fatal(err)
	}
	if note, err := c.Note(); !bytes.Equal(note, AllLF) || err != nil {
		t.Errorf("after Reset: %q, %v", note, err)
	}
}

// What fails while it is read is not taken for the end.
func TestFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	fails := io.MultiReader(strings.NewReader("a\r\nb"), iotest.ErrReader(broken))
	if _, err := io.ReadAll(NewCanon(fails)); !errors.Is(err, broken) {
		t.Error(err)
	}
	r, err := Restore(io.MultiReader(strings.NewReader("a\r\nb\r"), iotest.ErrReader(broken)), AllLF)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, broken) || string(got) != "a\nb\r" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	for note, want := range map[string]error{
		"": nil, string(AllLF): nil, string(AllCRLF): nil, "\x01\x80\x01": nil,
		"\x02": ErrNote, "\x00\x80": ErrNote, string(make([]byte, MaxNote+1)): ErrNote,
	} {
		if err := Check([]byte(note)); !errors.Is(err, want) {
			t.Errorf("%.10q: %v", note, err)
		}
	}
	if _, err := Restore(nil, []byte{7}); !errors.Is(err, ErrNote) {
		t.Error(err)
	}
	r, err := Restore(strings.NewReader("a\r\nb\r\n"), AllCRLF)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); string(got) != "a\r\nb\r\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\nc"), []byte{0})
	f.Add([]byte("\r\r\n\n\r"), []byte{1, 0, 1})
	f.Add([]byte(strings.Repeat("x", piece-1)+"\r\n"), []byte{1})
	f.Fuzz(func(t *testing.T, in, note []byte) {
		c := NewCanon(bytes.NewReader(in))
		got, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) > 0 && !bytes.HasSuffix(got, crlf) || bytes.Count(got, crlf[1:]) != bytes.Count(got, crlf) {
			t.Errorf("%q is not canonical", got)
		}
		own, err := c.Note()
		if err != nil {
			return // the bound
		}
		r, err := Restore(bytes.NewReader(got), own)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := io.ReadAll(r); !bytes.Equal(back, in) || err != nil {
			t.Errorf("%q came back as %q, %v", in, back, err)
		}
		// Any note may be beside any message, after damage: the content but
		// for its line ends comes back.
		if r, err = Restore(bytes.NewReader(got), note); (err == nil) != (Check(note) == nil) {
			t.Errorf("note %q: %v", note, err)
		} else if err == nil {
			if n, err := io.Copy(io.Discard, r); err != nil || n > int64(len(got)) {
				t.Errorf("%d of %d octets, %v", n, len(got), err)
			}
		}
	})
}
