package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func downgrade(msg string) (string, error) {
	var out strings.Builder
	err := Downgrade(&out, strings.NewReader(msg))
	return out.String(), err
}

func TestDowngrade(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 100)
	tests := []struct{ name, in, want string }{
		{"7-bit message stays",
			"Subject: x\n\nhello\n-- \n.\n",
			"Subject: x\n\nhello\n-- \n.\n"},
		{"no body",
			"Subject: x\n", "Subject: x\n"},
		{"label that is not true",
			"MIME-Version: 1.0\nContent-Transfer-Encoding: 8BIT\nSubject: x\n\nhello\n",
			"MIME-Version: 1.0\nSubject: x\nContent-Transfer-Encoding: 7bit\n\nhello\n"},
		{"text",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße = \n-- \n.\nFrom\n",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe =3D=20\n=2D-=20\n=2E\n=46rom\n"},
		{"not text",
			"MIME-Version: 1.0\nContent-Type: image/x\nContent-Transfer-Encoding: 8bit\n\nü\n",
			"MIME-Version: 1.0\nContent-Type: image/x\nContent-Transfer-Encoding: base64\n\nw7wNCg==\n"},
		{"not MIME, UTF-8",
			"Subject: x\n\nü\n",
			"Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n"},
		{"not MIME, something else",
			"Subject: x\n\n\xfc\n",
			"Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n\n=FC\n"},
		{"no header",
			"\nü\n",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n"},
		{"long line",
			"MIME-Version: 1.0\n\n" + long + "\n",
			"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n" + softly(long, 75) + "\n"},
		{"encoded already",
			"MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nw7wNCg==\n",
			"MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nw7wNCg==\n"},
		{"parts",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b b\"\nContent-Transfer-Encoding: 8bit\n\npreamblé\n--b b  \n\nplain\n--b b\nContent-Type: text/html\n\nü\n\n--b b\nContent-Type: a/b\n\nü\n--b b--\nepilogué\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"b b\"\nContent-Transfer-Encoding: 7bit\n\npreambl??\n--b b  \n\nplain\n--b b\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n\n--b b\nContent-Type: a/b\nContent-Transfer-Encoding: base64\n\nw7w=\n--b b--\nepilogu??\n"},
		{"part with nothing but a header",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n--b\nContent-Type: text/plain\n--b--\n",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n--b\nContent-Type: text/plain\n--b--\n"},
		{"inner multipart left open",
			"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\n\nü\n--a\n\né\n--a--\n",
			"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n--a\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A9\n--a--\n"},
		{"message within",
			"Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: inner\n\nü\n",
			"Content-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nSubject: inner\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n"},
		{"digest",
			"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: inner\n\nü\n--b--\n",
			"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: inner\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n--b--\n"},
		{"UTF-8 message within may be encoded",
			"Content-Type: message/global-headers\n\nSubject: ü\n",
			"Content-Type: message/global-headers\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\nSubject: =C3=BC\n"},
		{"signed and 7-bit",
			"Content-Type: multipart/signed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit\n\nx\n--b--\n",
			"Content-Type: multipart/signed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit\n\nx\n--b--\n"},
		{"soft break before what looks like a delimiter",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n" + strings.Repeat("x", 75) + "--b--\nü\n--b--\n",
			"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("x", 75) + "=\n=2D-b--\n=C3=BC\n--b--\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := downgrade(string(crlf(tt.in)))
			if diff := cmp.Diff(string(crlf(tt.want)), got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// softly breaks s into lines of n and an equals sign.
func softly(s string, n int) string {
	var b strings.Builder
	for len(s) > n {
		b.WriteString(s[:n] + "=\n")
		s = s[n:]
	}
	return b.String() + s
}

func TestDowngradeRefuses(t *testing.T) {
	t.Parallel()
	deep := ""
	for i := range MaxDepth + 2 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	tests := []struct{ name, in string }{
		{"header", "Subject: ü\n\nx\n"},
		{"header of a part", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: a/b; name=ü\n\nx\n--b--\n"},
		{"signed", "Content-Type: multipart/signed; boundary=b\n\n--b\n\nü\n--b--\n"},
		{"encrypted", "Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nü\n--b--\n"},
		{"multipart without boundary", "Content-Type: multipart/mixed\n\nü\n"},
		{"message/partial", "Content-Type: message/partial; id=x\n\nü\n"},
		{"delivery status", "Content-Type: message/delivery-status\n\nX: ü\n"},
		{"encoded already", "Content-Transfer-Encoding: quoted-printable\n\nü\n"},
		{"unknown encoding", "Content-Transfer-Encoding: x-uuencode\n\nü\n"},
		{"two types", "Content-Type: text/plain\nContent-Type: a/b\n\nü\n"},
		{"two encodings", "Content-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: 7bit\n\nü\n"},
		{"no type at all", "Content-Type: ;\n\nü\n"},
		{"line that is no field", "hello\n\nü\n"},
		{"message within", "Content-Type: message/rfc822\n\nSubject: ü\n\nx\n"},
		{"deep", deep + "\nü\n"},
		{"many parts", "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\n", MaxParts+1)},
		{"long header", "X: " + strings.Repeat("x", MaxHeader) + "\n\nx\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := downgrade(string(crlf(tt.in))); !errors.Is(err, ErrNotConvertible) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDowngradePassesErrorsOn(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, msg := range []string{"Subject: x\r\n", "Subject: x\r\n\r\nü\r\n", "Content-Type: multipart/a; boundary=b\r\n\r\n--b\r\n"} {
		if err := Downgrade(io.Discard, io.MultiReader(strings.NewReader(msg), iotest.ErrReader(broken))); err != broken {
			t.Errorf("%q: read error became %v", msg, err)
		}
	}
	if err := Downgrade(failing{broken}, strings.NewReader("Subject: x\r\n\r\nü\r\n")); err != broken {
		t.Errorf("write error became %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// A part that is longer than what is read ahead is encoded while it streams,
// with memory that does not depend on its length.
func TestDowngradeStreams(t *testing.T) {
	t.Parallel()
	head := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/b\r\n\r\n"
	line := strings.Repeat("y", 70) + "\xff\x00\r\n"
	const lines = 200_000
	count := 0
	r := io.MultiReader(strings.NewReader(head), &repeat{line: line, n: lines}, strings.NewReader("--b--\r\n"))
	sum := func(p []byte) (int, error) { count += len(p); return len(p), nil }
	if err := Downgrade(writerFunc(sum), r); err != nil {
		t.Fatal(err)
	}
	if least := lines * len(line) * 4 / 3; count < least {
		t.Errorf("%d octets written, want at least %d", count, least)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type repeat struct {
	line string
	n    int
	rest string
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.n == 0 {
			return 0, io.EOF
		}
		r.n--
		r.rest = r.line
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// leaves returns the decoded content of every part without parts, as the
// standard library reads it.
func leaves(r io.Reader) ([]string, error) {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return nil, err
	}
	return leavesOf(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body, "text/plain")
}

func leavesOf(contentType, encoding string, body io.Reader, fallback string) ([]string, error) {
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	if contentType == "" {
		contentType = fallback
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil && mediaType == "" {
		mediaType = "text/plain"
	}
	switch {
	case mediaType == "message/rfc822":
		return leaves(body)
	case strings.HasPrefix(mediaType, "multipart/") && params["boundary"] != "":
		return leavesOfParts(mediaType, params["boundary"], body)
	}
	content, err := io.ReadAll(body)
	return []string{string(content)}, err
}

func leavesOfParts(mediaType, boundary string, body io.Reader) (all []string, err error) {
	fallback := "text/plain"
	if mediaType == "multipart/digest" {
		fallback = "message/rfc822"
	}
	for r := multipart.NewReader(body, boundary); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		one, err := leavesOf(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p, fallback)
		all = append(all, one...)
		if err != nil {
			return all, err
		}
	}
}

// checkSevenBit fails if out could not pass a 7-bit hop.
func checkSevenBit(t interface{ Fatalf(string, ...any) }, out string) {
	if !isSevenBit([]byte(out)) {
		t.Fatalf("8-bit octets are left:\n%q", out)
	}
}

func TestDowngradeKeepsContent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := "MIME-Version: 1.0\r\n" + drawEntity(t, 0)
		out, err := downgrade(in)
		if err != nil {
			t.Fatalf("%v for\n%q", err, in)
		}
		if !fits([]byte(out)) {
			t.Fatalf("not 7bit data:\n%q", out)
		}
		want, err := leaves(strings.NewReader(in))
		if err != nil {
			t.Fatalf("input: %v\n%q", err, in)
		}
		got, err := leaves(strings.NewReader(out))
		if err != nil {
			t.Fatalf("output: %v\n%q", err, out)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s\nin  %q\nout %q", diff, in, out)
		}
		if again, err := downgrade(out); err != nil || again != out {
			t.Fatalf("a second pass changes it: %v", err)
		}
	})
}

// drawEntity makes the fields of an entity, an empty line and its content.
func drawEntity(t *rapid.T, depth int) string {
	kinds := []string{"text", "binary", "none"}
	if depth < 4 {
		kinds = append(kinds, "multipart", "message", "digest")
	}
	label := rapid.SampledFrom([]string{"", "8bit", "7bit", "Binary"}).Draw(t, "label")
	head := ""
	if label != "" {
		head = "Content-Transfer-Encoding: " + label + "\r\n"
	}
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case "multipart", "digest":
		subtype := map[string]string{"multipart": "mixed", "digest": "digest"}[kind]
		boundary := fmt.Sprintf("b%d%s", depth, rapid.StringMatching(`[a-z'()+_,./:=?-]{0,5}`).Draw(t, "boundary"))
		s := head + fmt.Sprintf("Content-Type: multipart/%s; boundary=\"%s\"\r\n\r\n", subtype, boundary)
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			s += "--" + boundary + "\r\n"
			if kind == "digest" {
				s += "\r\nMIME-Version: 1.0\r\n"
			}
			s += drawEntity(t, depth+1) + "\r\n"
		}
		return s + "--" + boundary + "--\r\n"
	case "message":
		return head + "Content-Type: message/rfc822\r\n\r\nMIME-Version: 1.0\r\n" + drawEntity(t, depth+1)
	case "text":
		head += "Content-Type: text/plain; charset=utf-8\r\n"
	case "binary":
		head += "Content-Type: application/octet-stream\r\n"
	}
	return head + "\r\n" + drawContent(t)
}

func drawContent(t *rapid.T) string {
	pieces := []string{"\r\n", " ", "\t", ".", "-", "--", "--b0", "--b1--", "=", "From ", "ü", "\xff", "x", "hello world",
		strings.Repeat("long ", 15), strings.Repeat("z", 1200)}
	s := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 30).Draw(t, "content"), "")
	// What looks like a delimiter at the start of a line would be one.
	return strings.ReplaceAll("\n"+s, "\n--", "\nx--")[1:]
}

// Octets that text lines never have, but that BINARYMIME brings.
func TestQuoterKeepsEveryOctet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.SliceOf(rapid.SampledFrom([]byte("\r\n\x00\xff =.-Fx\t"))).Draw(t, "content")
		msg := "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n\xff" + string(content)
		out, err := downgrade(msg)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(out, "\r\n\r\n")
		got, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
		if err != nil || string(got) != "\xff"+string(content) {
			t.Fatalf("%q became %q (%v) through %q", "\xff"+string(content), got, err, body)
		}
	})
}

const corpora = "../../../shared/corpora"

// Mail that others found worth keeping, much of it malformed.
func TestDowngradeCorpora(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(corpora); err != nil {
		t.Skipf("the corpora are not beside this project: %v", err)
	}
	converted, unchanged, refused := 0, 0, 0
	err := filepath.WalkDir(corpora+"/mime", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for f := range Fields(raw) {
			Decode(f.Value())
			Addresses(f.Value())
			ParseDate(f.Value())
		}
		in := strings.ReplaceAll(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\n", "\r\n")
		out, err := downgrade(in)
		switch {
		case err != nil && !errors.Is(err, ErrNotConvertible):
			t.Errorf("%s: %v", path, err)
		case err != nil:
			refused++
		case out == in:
			unchanged++
		default:
			converted++
			compare(t, path, in, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d converted, %d unchanged, %d refused", converted, unchanged, refused)
	if converted == 0 || refused == 0 {
		t.Error("the corpora no longer reach what they are to test")
	}
}

// compare holds the parts of two messages against each other. Where the
// standard library cannot read the first, there is nothing to compare.
func compare(t *testing.T, path, in, out string) {
	checkSevenBit(t, out)
	want, err := leaves(strings.NewReader(in))
	if err != nil {
		return
	}
	got, err := leaves(strings.NewReader(out))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%s: %v\n%s", path, err, diff)
	}
}

func BenchmarkDowngrade(b *testing.B) {
	msg := []byte("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
		strings.Repeat("Grüße aus einer Zeile, die so lang ist wie die meisten anderen.\r\n", 1000))
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Downgrade(io.Discard, bytes.NewReader(msg)); err != nil {
			b.Fatal(err)
		}
	}
}
