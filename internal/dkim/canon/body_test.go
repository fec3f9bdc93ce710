package canon

import (
	"bytes"
	"crypto"
	_ "crypto/sha256"
	"encoding/base64"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func genBody(t *rapid.T) string {
	piece := pick(" ", "\t", "  ", "\r\n", "\r\n\r\n", " \r\n", "\t \r\n", "a", "bcd", "=20", ".", strings.Repeat("x", 20), strings.Repeat("base64+/", 9), "two words ", "\u00fc")
	return strings.Join(rapid.SliceOfN(piece, 0, 40).Draw(t, "body"), "")
}

func pick(s ...string) *rapid.Generator[string] { return rapid.SampledFrom(s) }

// chop writes p in pieces of random sizes.
func chop(t *rapid.T, w io.Writer, p string) {
	for p != "" {
		n := rapid.IntRange(1, min(len(p), 30)).Draw(t, "chunk")
		io.WriteString(w, p[:n])
		p = p[n:]
	}
}

// TestBodyAgainstTheWords compares the hash of a body in chunks with what the
// words of RFC 6376, sections 3.4.3 and 3.4.4 make of it whole.
func TestBodyAgainstTheWords(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		body := genBody(t)
		if rapid.Bool().Draw(t, "odd") { // lone CR and LF stay what they are
			body += strings.Join(rapid.SliceOfN(pick("\r", "\n", " ", "\r\n", "x"), 0, 10).Draw(t, "end"), "")
		}
		limit := rapid.Int64Range(0, 50).Draw(t, "limit")
		var b Body
		s, r := b.Hash(Simple, -1), b.Hash(Relaxed, -1)
		short := b.Hash(Relaxed, limit)
		chop(t, &b, body)
		b.Close()
		if !bytes.Equal(s.Sum(), sum(simple(body))) || !bytes.Equal(r.Sum(), sum(relaxed(body))) {
			t.Errorf("%q: not the hash of %q or %q", body, simple(body), relaxed(body))
		}
		whole := relaxed(body)
		n := min(int(limit), len(whole))
		if !bytes.Equal(short.Sum(), sum(whole[:n])) || short.Unsigned() != int64(len(whole)-n) || short.Missing() != limit-int64(n) {
			t.Errorf("%q to %d: %d unsigned, %d missing", body, limit, short.Unsigned(), short.Missing())
		}
	})
}

func sum(s string) []byte {
	h := crypto.SHA256.New()
	io.WriteString(h, s)
	return h.Sum(nil)
}

func simple(body string) string {
	for strings.HasSuffix(body, "\r\n") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	return body + "\r\n"
}

func relaxed(body string) string {
	lines := strings.Split(body, "\r\n")
	for i, l := range lines {
		l = strings.ReplaceAll(l, "\t", " ")
		for strings.Contains(l, "  ") {
			l = strings.ReplaceAll(l, "  ", " ")
		}
		lines[i] = strings.TrimSuffix(l, " ")
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// FuzzBody compares the hashes of a body in two pieces with what the words
// of the RFC make of it.
func FuzzBody(f *testing.F) {
	f.Add([]byte("a \t b \r\n\r\n  \r\nc\r\n \r\n\r\n"), 5)
	f.Add([]byte(strings.Repeat("some text with  spaces \r\n", 20)), 100)
	f.Add([]byte(" \r\r\n\n\t"), 1)
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		cut = max(0, min(cut, len(body)))
		var b Body
		s, r := b.Hash(Simple, -1), b.Hash(Relaxed, -1)
		b.Write(body[:cut])
		b.Write(body[cut:])
		b.Close()
		if !bytes.Equal(s.Sum(), sum(simple(string(body)))) || !bytes.Equal(r.Sum(), sum(relaxed(string(body)))) {
			t.Errorf("%q cut at %d", body, cut)
		}
	})
}

// prose is a body as people write it, attachment one as programs send it.
func prose(n int) []byte {
	return bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, as it has done since it was told to.\r\n"), n/83+1)[:n/83*83]
}

func attachment(n int) []byte {
	line := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1, 2, 3}, 19)) + "\r\n"
	return bytes.Repeat([]byte(line), n/len(line))
}

// BenchmarkBody is the hashing of a body alone.
func BenchmarkBody(b *testing.B) {
	for name, body := range map[string][]byte{"prose": prose(1 << 20), "attachment": attachment(1 << 20)} {
		for c, form := range map[string]Form{"simple": Simple, "relaxed": Relaxed} {
			b.Run(name+"/"+c, func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				for b.Loop() {
					var z Body
					z.Hash(form, -1)
					z.Write(body)
					z.Close()
				}
			})
		}
	}
}

// BenchmarkWorstBody is a body that changes all the time.
func BenchmarkWorstBody(b *testing.B) {
	body := bytes.Repeat([]byte("a  "), 1<<20/3)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		var z Body
		z.Hash(Relaxed, -1)
		z.Write(body)
		z.Close()
	}
}
