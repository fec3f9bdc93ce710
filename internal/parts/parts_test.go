package parts

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

const multi = "Content-Type: multipart/mixed; boundary=b\r\n\r\n"

func part(header, body string) string { return "--b\r\n" + header + "\r\n\r\n" + body + "\r\n" }

// walked returns what a walk shows.
func walked(text string) (string, error) {
	var b strings.Builder
	err := Each(strings.NewReader(text), 1<<20, func(p Part) bool {
		body, _ := io.ReadAll(p.Body)
		fmt.Fprintf(&b, "[%s %s %.20q]", p.Type, p.Name, body)
		return p.Name != "last"
	})
	return b.String(), err
}

func TestEach(t *testing.T) {
	t.Parallel()
	nested := ""
	for range maxDepth + 2 {
		nested += "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
	}
	for text, want := range map[string]string{
		"Subject: x\r\n\r\nhello": `[  "hello"]`,
		multi + part("Content-Type: text/plain", "one") + part("Content-Type: Text/XML; name=X.xml\r\nContent-Transfer-Encoding: BASE64", "dHdv") + "--b--": `[text/plain  "one"][text/xml x.xml "two"]`,
		multi + part("Content-Disposition: attachment; filename=last", "1") + part("", "2") + "--b--":                                                       `[ last "1"]`,
		multi + part("Content-Transfer-Encoding: quoted-printable", "a=3Db"):                                                                                `[  "a=b"]`,
		multi + part("Content-Type: text/plain", "cut"):                                                                                                     `[text/plain  "cut"]`,
		nested:                                   "",
		"Content-Type: multipart/mixed\r\n\r\nx": `[multipart/mixed  "x"]`,
	} {
		if got, err := walked(text); got != want || err != nil {
			t.Errorf("%.60q: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	if _, err := walked("moo"); !errors.Is(err, ErrNoMessage) {
		t.Error(err)
	}
	if _, err := walked(multi + strings.Repeat(part("", "x"), maxParts+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	var read error
	err := Each(strings.NewReader("A: b\r\n\r\n"+strings.Repeat("x", 100)), 20, func(p Part) bool {
		_, read = io.ReadAll(p.Body)
		return true
	})
	if err != nil || !errors.Is(read, ErrTooLarge) {
		t.Errorf("%v, %v", err, read)
	}
}

func FuzzEach(f *testing.F) {
	f.Add(multi + part("Content-Type: text/xml; name=x.xml\r\nContent-Transfer-Encoding: base64", "dHdv") + "--b--")
	f.Add("Content-Type: multipart/report; boundary=\"=_\"\r\n\r\n--=_\r\n\r\nx\r\n--=_--")
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		err := Each(strings.NewReader(text), 1<<16, func(p Part) bool {
			n++
			io.Copy(io.Discard, p.Body)
			return true
		})
		if n > maxParts || err != nil && !errors.Is(err, ErrNoMessage) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d parts, %v", n, err)
		}
	})
}
