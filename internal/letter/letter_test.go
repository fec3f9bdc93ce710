package letter

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"mime"
	"net/mail"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/message"
	"gatepost/internal/parts"
)

func sample() *Letter {
	long := strings.Repeat("a123456789.", 22) + "example"
	return &Letter{
		From: addr.MustParse("r@d.example"), To: addr.MustParse("x@" + long), Host: "mx.d.example", Date: time.Unix(1_800_000_000, 0).UTC(),
		About: long, Submitter: addr.Domain(long), ID: "20270115." + long + "@" + long, Fields: []string{"X-Y: z"}, Report: "tlsrpt",
		Text: []string{"Words."}, Type: "application/x", Name: long + "!x.gz", Random: rand.Reader,
	}
}

// What is written is a message with a file in it, in lines that every server
// takes, however long the names are.
func TestWrite(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte{0, 1, 2, 255}, 1000)
	var b bytes.Buffer
	if err := sample().Write(&b, func(w io.Writer) error { _, err := w.Write(content); return err }); err != nil {
		t.Fatal(err)
	}
	header, _, _ := bytes.Cut(b.Bytes(), []byte("\r\n\r\n"))
	if err := message.Check(append(header, "\r\n"...)); err != nil {
		t.Error(err)
	}
	for line := range bytes.Lines(b.Bytes()) {
		if len(line) > 998 || !bytes.HasSuffix(line, []byte("\r\n")) {
			t.Errorf("%q", line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "tlsrpt" || m.Header.Get("Subject") != sample().Subject() || m.Header.Get("X-Y") != "z" {
		t.Errorf("%s, %v, %v, %v", kind, params, err, m.Header)
	}
	var got []byte
	err = parts.Each(&b, 1<<20, func(p parts.Part) bool {
		if p.Type == "application/x" && p.Name == sample().Name {
			got, _ = io.ReadAll(p.Body)
		}
		return true
	})
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d octets, %v", len(got), err)
	}
}

// An error of the file, of who reads, or of chance is told.
func TestErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	if err := sample().Write(io.Discard, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Error(err)
	}
	large := func(w io.Writer) error { _, err := w.Write(make([]byte, 1<<20)); return err }
	if err := sample().Write(failing{}, large); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	for n := range 2 {
		l := sample()
		l.Random = strings.NewReader(strings.Repeat("x", 16*n))
		if err := l.Write(io.Discard, large); err == nil {
			t.Errorf("written with %d random octets", 16*n)
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
