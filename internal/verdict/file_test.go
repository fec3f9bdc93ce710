package verdict

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 15) + "\r"
	for in, want := range map[string][2]string{
		"":                         {"", ""},
		"A: b":                     {"A: b\r\n", ""},
		"A: b\n\nhi\r\nyou":        {"A: b\r\n", "hi\r\nyou\r\n"},
		"\n\nhi\n":                 {"", "\r\nhi\r\n"},
		"A: b\r\n\r\n\n":           {"A: b\r\n", "\r\n"},
		"\n" + long + "\nx":        {"", long + "\nx\r\n"},
		"\n" + long + "y\n":        {"", long + "y\r\n"},
		"\n" + long + long + "\n":  {"", long + long + "\n"},
		"\n" + long[:15] + "x":     {"", long[:15] + "x\r\n"},
		"\n" + long[:15] + "x\n\n": {"", long[:15] + "x\r\n\r\n"},
		"A: " + long + "\n\nb\n":   {"A: " + long + "\n", "b\r\n"},
		long[:15] + "x\n\nbody":    {long[:15] + "x\r\n", "body\r\n"},
	} {
		l := &lines{r: bufio.NewReaderSize(strings.NewReader(in), 16)}
		header, err := l.header()
		var body bytes.Buffer
		if err == nil {
			err = l.copy(&body)
		}
		if err != nil || string(header) != want[0] || body.String() != want[1] {
			t.Errorf("%q: %q, %q, %v", in, header, body.String(), err)
		}
	}
}

func TestHeaderBound(t *testing.T) {
	t.Parallel()
	l := &lines{r: bufio.NewReader(io.LimitReader(zeros{}, maxHeader+10))}
	if header, err := l.header(); err != ErrHeader {
		t.Errorf("%d octets, %v", len(header), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
