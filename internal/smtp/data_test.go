package smtp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// model is what Data and Chunks must come to, said in the plainest way.
type model struct {
	content []byte
	rest    string // octets behind the end
	done    bool
	Content
}

// modelData reads what follows DATA one octet at a time.
func modelData(in string) model {
	var m model
	raw := "\r\n" + in // the end of the command line counts
	end := strings.Index(raw, "\r\n.\r\n")
	if end >= 0 {
		m.done, m.rest = true, raw[end+5:]
		raw = raw[:end+2]
	}
	raw = raw[2:]
	start := true
	for i := 0; i < len(raw); i++ {
		if start && raw[i] == '.' {
			start = false
			continue
		}
		m.content = append(m.content, raw[i])
		start = i > 0 && raw[i-1] == '\r' && raw[i] == '\n'
	}
	m.inspect()
	return m
}

func modelChunk(in string) model {
	m := model{content: []byte(in)}
	m.inspect()
	return m
}

// inspect fills in what is seen in the content.
func (m *model) inspect() {
	s := string(m.content)
	m.Size = int64(len(s))
	plain := strings.ReplaceAll(strings.TrimSuffix(s, "\r"), "\r\n", "") // a CR at the end may be half an end
	m.Broken = strings.ContainsAny(plain, "\r\n\x00")
	if m.Broken {
		return
	}
	header, body := s, ""
	if strings.HasPrefix(s, "\r\n") {
		m.HeaderEnd = 2
	} else if i := strings.Index(s, "\r\n\r\n"); i >= 0 {
		m.HeaderEnd = int64(i) + 4
	}
	if m.HeaderEnd > 0 {
		header, body = s[:m.HeaderEnd], s[m.HeaderEnd:]
	}
	m.HeaderEightBit, m.BodyEightBit = !isASCII(header), !isASCII(body)
	for _, l := range strings.Split(s, "\r\n") {
		l = strings.TrimSuffix(l, "\r") // only the last can have one, that may be half an end
		m.LeadingDot = m.LeadingDot || strings.HasPrefix(l, ".")
		m.LongLine = m.LongLine || len(l) > LongLine
		m.TooLong = m.TooLong || len(l) > MaxTextLine
	}
}

// reader is what Data and Chunks have in common.
type reader interface {
	Next(p []byte) (content []byte, n int, done bool)
}

// feed gives in to r in pieces and returns what came of it.
func feed(r reader, in string, piece func() int) (content []byte, rest string, done bool) {
	for !done && in != "" {
		p := []byte(in[:min(len(in), max(1, piece()))])
		got, n, end := r.Next(p)
		content, done = append(content, got...), end
		in = in[n:]
		if !end && n != len(p) {
			panic("stopped before the end")
		}
	}
	return content, in, done
}

// public is the part of Content that others see.
func public(c Content) Content {
	c.line, c.cr = 0, false
	if c.Broken { // nothing else is kept up
		return Content{Size: c.Size, Broken: true}
	}
	return c
}

func compare(t *testing.T, in string, piece func() int) {
	t.Helper()
	want := modelData(in)
	var d Data
	content, rest, done := feed(&d, in, piece)
	if done != want.done || rest != want.rest || d.Broken != want.Broken && done {
		t.Fatalf("%.200q: done %v rest %.50q broken %v, want %v %.50q %v", in, done, rest, d.Broken, want.done, want.rest, want.Broken)
	}
	if want.done && !want.Broken && (!bytes.Equal(content, want.content) || public(d.Content) != public(want.Content)) {
		t.Fatalf("%.200q: %.200q %+v, want %.200q %+v", in, content, d.Content, want.content, want.Content)
	}
	want = modelChunk(in)
	var c Chunks
	c.Begin(int64(len(in)))
	content, _, _ = feed(&c, in, piece)
	if string(content) != in || public(c.Content) != public(want.Content) {
		t.Fatalf("chunk %.200q: %+v, want %+v", in, public(c.Content), public(want.Content))
	}
}

// pieces cuts at every octet, nowhere, and as the seed says.
func pieces(seed int) []func() int {
	return []func() int{
		func() int { return 1 },
		func() int { return 1 << 30 },
		func() int { seed = seed*1103515245 + 12345; return seed >> 16 & 15 },
	}
}

func TestData(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, content, rest string
		broken            bool
	}{
		{".\r\n", "", "", false},
		{".\r\nQUIT\r\n", "", "QUIT\r\n", false},
		{"a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n", false},
		{"..\r\n.a\r\n...\r\n.\r\n", ".\r\na\r\n..\r\n", "", false},
		{"a\r\n..\r\n.\r\n", "a\r\n.\r\n", "", false},
		{".\n\r\n.\r\n", "", "", true},
		{".\r\r\n.\r\n", "", "", true},
		{"a\x00\r\n.\r\n", "", "", true},
		{"\n.\r\n\r\n.\r\n", "", "", true},
	} {
		var d Data
		content, rest, done := feed(&d, c.in, func() int { return 3 })
		if !done || rest != c.rest || d.Broken != c.broken || !c.broken && string(content) != c.content {
			t.Errorf("%q: %q %q %v %+v", c.in, content, rest, done, d.Content)
		}
	}
}

func TestDataAgainstModel(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", LongLine)
	for _, in := range []string{
		"", ".", ".\r", ".\r\n", "\r\n.\r\n", "\r\n\r\n.\r\n", "a:b\r\n\r\n.\r\n", "a:b\r\n\r\nü\r\n.\r\n", "ü:b\r\n\r\n.x\r\n.\r\n",
		"a:b\r\n\r\n..x\r\n.\r\n", long + "\r\n.\r\n", long + "x\r\n.\r\n", "." + long + "\r\n.\r\n", "a\r\r\n.\r\n", "a\n.\r\n", "a\r\n.\r",
		strings.Repeat("y", MaxTextLine) + "\r\n.\r\n", strings.Repeat("y", MaxTextLine+1) + "\r\n.\r\n", "\r\r\n\r\n.\r\n",
		strings.Repeat("x\r\n", 40) + "é" + strings.Repeat("y\r\n", 40) + ".\r\n", "\xff" + strings.Repeat("z", 63) + "\r\n.\r\n",
	} {
		for _, piece := range pieces(len(in)) {
			compare(t, in, piece)
		}
	}
}

// TestSmuggling holds the heart of it: no false ending ends content, alone
// or in company, wherever the packets are cut.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	var corpus struct{ Sequences []string }
	raw, err := os.ReadFile("testdata/smuggling-basic.json")
	if err == nil {
		err = json.Unmarshal(raw, &corpus)
	}
	if err != nil || len(corpus.Sequences) == 0 {
		t.Fatal(err)
	}
	// And every mixture of CR, LF and dot of up to seven octets.
	for n := 1; n <= 7; n++ {
		for i := range pow(3, n) {
			var b []byte
			for range n {
				b = append(b, "\r\n."[i%3])
				i /= 3
			}
			corpus.Sequences = append(corpus.Sequences, string(b))
		}
	}
	for _, seq := range corpus.Sequences {
		in := "Subject: a\r\n\r\nbody" + seq + "MAIL FROM:<evil@example>\r\n.\r\nNOOP\r\n"
		for _, piece := range pieces(len(seq)) {
			compare(t, in, piece)
		}
		var d Data
		_, rest, _ := feed(&d, in, func() int { return 1 << 30 })
		if true := strings.Contains("d"+seq, "\r\n.\r\n"); !true && rest != "NOOP\r\n" {
			t.Errorf("%q smuggles %q", seq, rest)
		}
	}
}

func pow(base, n int) int {
	p := 1
	for range n {
		p *= base
	}
	return p
}

func TestChunksEnd(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "a\r\n": "", "a": "\r\n", "a\r\nb": "\r\n"} {
		var c Chunks
		c.Begin(int64(len(in)))
		feed(&c, in, func() int { return 2 })
		if got := c.End(); string(got) != want || c.Broken || c.Size != int64(len(in)+len(want)) {
			t.Errorf("%q: %q %+v", in, got, c.Content)
		}
	}
	var c Chunks
	c.Begin(2)
	feed(&c, "a\r", func() int { return 2 })
	if c.End(); !c.Broken {
		t.Error("a CR at the end of the last chunk passed")
	}
	c = Chunks{}
	c.Begin(3)
	if _, n, done := c.Next([]byte("abcQUIT")); n != 3 || !done {
		t.Errorf("read %d octets of a chunk of 3, done %v", n, done)
	}
}

// counter counts writes.
type counter struct {
	bytes.Buffer
	writes int
}

func (c *counter) Write(p []byte) (int, error) { c.writes++; return c.Buffer.Write(p) }

func TestDotWriter(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": ".\r\n", "a\r\n": "a\r\n.\r\n", "a": "a\r\n.\r\n", ".\r\n": "..\r\n.\r\n", ".a\r\n..\r\nb.\r\n": "..a\r\n...\r\nb.\r\n.\r\n",
	} {
		for _, piece := range pieces(len(in)) {
			var c counter
			w := NewDotWriter(&c)
			for rest := in; rest != ""; {
				n, err := w.Write([]byte(rest[:min(len(rest), max(1, piece()))]))
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if err := w.Close(); err != nil || c.String() != want {
				t.Errorf("%q: %q %v, want %q", in, c.String(), err, want)
			}
		}
	}
	var c counter
	w := NewDotWriter(&c)
	if n, err := w.Write(bytes.Repeat([]byte("no dot. here\r\n"), 1000)); n != 14000 || err != nil || c.writes != 1 {
		t.Errorf("%d octets, %v, in %d writes", n, err, c.writes)
	}
}

func FuzzData(f *testing.F) {
	for _, s := range []string{".\r\n", "a: b\r\n\r\n..c\r\n.\r\nQUIT", "\r\n.\n", "\n.\r\n", "\r.\r", "a\r\n.\r\r\n.\r\n", "x\x00\r\n.\r\n", "ü\r\n\r\n\xff\r\n.\r\n"} {
		f.Add(s, 7)
	}
	f.Fuzz(func(t *testing.T, in string, seed int) {
		for _, piece := range pieces(seed) {
			compare(t, in, piece)
		}
		// What was read, sent on, is read the same, and as one message.
		var d Data
		content, _, done := feed(&d, in, pieces(seed)[2])
		if !done || d.Broken {
			return
		}
		var out bytes.Buffer
		w := NewDotWriter(&out)
		for rest := content; len(rest) > 0; {
			n, _ := w.Write(rest[:min(len(rest), 1+seed&7)])
			rest = rest[n:]
		}
		w.Close()
		var again Data
		got, rest, done := feed(&again, out.String(), pieces(seed)[2])
		if !done || rest != "" || !bytes.Equal(got, content) || public(again.Content) != public(d.Content) {
			t.Errorf("%q was sent as %q and read as %q", content, out.String(), got)
		}
	})
}

func FuzzBdat(f *testing.F) {
	f.Add("4", "abcdQUIT", 3)
	f.Add("0 LAST", "QUIT", 1)
	f.Add("9223372036854775807", "a\r", 1)
	f.Fuzz(func(t *testing.T, args, in string, seed int) {
		b, bad := ParseBdat(args)
		if bad != nil {
			return
		}
		var c Chunks
		c.Begin(b.Size)
		content, rest, done := feed(&c, in, pieces(seed)[2])
		if string(content)+rest != in || int64(len(content)) > b.Size || done && int64(len(content)) != b.Size {
			t.Fatalf("chunk of %d: %q and %q of %q, done %v", b.Size, content, rest, in, done)
		}
		tail := c.End()
		want := modelChunk(string(content) + string(tail))
		if public(c.Content) != public(want.Content) || !c.Broken && c.line != 0 {
			t.Errorf("%q + %q: %+v, want %+v", content, tail, c.Content, want.Content)
		}
	})
}

// text is about 4 KiB of mail as people write it.
var text = []byte("From: Anna <anna@example.org>\r\nTo: Bert <bert@example.net>\r\nSubject: minutes\r\n\r\n" +
	strings.Repeat("The quick brown fox jumps over the lazy dog, again and again, today.\r\n", 57) + ".\r\n")

func BenchmarkData(b *testing.B) {
	for _, size := range []int{len(text), 1460} {
		b.Run(fmt.Sprintf("pieces=%d", size), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var d Data
				for in, done := text, false; !done; {
					var n int
					_, n, done = d.Next(in[:min(size, len(in))])
					in = in[n:]
				}
			}
		})
	}
}
