package mbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// all reads a file and returns its messages, and what they were found to be.
func all(t *testing.T, file string, d Dialect) (messages []string, found []*Message) {
	t.Helper()
	r := NewReader(strings.NewReader(file), int64(len(file)), d)
	for {
		m, err := r.Next()
		if err == io.EOF {
			if r.Offset() != int64(len(file)) {
				t.Errorf("ended at %d of %d", r.Offset(), len(file))
			}
			return messages, found
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(iotest.OneByteReader(m.Open()))
		if err != nil {
			t.Fatal(err)
		}
		messages, found = append(messages, string(b)), append(found, m)
	}
}

const line = "From anna@example.org Thu Nov 26 03:29:00 2026\n"

func counted(body string) string {
	return fmt.Sprintf("Subject: c\nContent-Length: %d\n\n%s", len(body), body)
}

func TestRead(t *testing.T) {
	t.Parallel()
	plain := "Subject: x\n\nbody\n"
	forward := "see:\n\n" + line + "Subject: quoted\n\nhello\n"
	cl2 := counted(forward)
	long := strings.Repeat("x", 2*buffer) + "From here\n"
	for name, c := range map[string]struct {
		file    string
		dialect Dialect
		want    []string
	}{
		"nothing":                {"", Auto, nil},
		"only empty lines":       {"\n\r\n", Auto, nil},
		"one":                    {line + plain + "\n", Auto, []string{plain}},
		"without the last line":  {line + plain, Auto, []string{plain}},
		"without the last end":   {line + "Subject: x\n\nbody", Auto, []string{"Subject: x\n\nbody"}},
		"two":                    {line + plain + "\n" + line + plain + "\n", Auto, []string{plain, plain}},
		"after empty lines":      {"\n\n" + line + plain + "\n", Auto, []string{plain}},
		"after a mark":           {"\xef\xbb\xbf" + line + plain + "\n", Auto, []string{plain}},
		"no empty line between":  {line + plain + line + plain, Auto, []string{plain, plain}},
		"empty lines at the end": {line + plain + "\n\n\n" + line + plain, Auto, []string{plain + "\n\n", plain}},
		"CR LF":                  {strings.ReplaceAll(line+plain+"\n"+line+plain+"\n", "\n", "\r\n"), Auto, []string{strings.ReplaceAll(plain, "\n", "\r\n"), strings.ReplaceAll(plain, "\n", "\r\n")}},
		"a header alone":         {line + "Subject: x\n\n" + line + plain, Auto, []string{"Subject: x\n", plain}},
		"nothing in it":          {line + line + plain, Auto, []string{"", plain}},
		"text like a From_ line": {line + "A: b\n\ntext\n\nFrom me to you, Thu\nX: y\n\n" + line + plain, Auto, []string{"A: b\n\ntext\n\nFrom me to you, Thu\nX: y\n", plain}},
		"a date within a text":   {line + "A: b\n\ntext\n" + line + "no field here\n\n", Auto, []string{"A: b\n\ntext\n" + line + "no field here\n"}},
		"Thunderbird":            {"From - Thu Nov 26 03:29:00 2026\n" + plain + "\nFrom \n" + plain + "\nFrom -\n" + plain, Auto, []string{plain, plain, plain}},
		"Gmail":                  {"From 1780000000000000000@xxx Thu Nov 26 03:29:00 +0000 2026\r\nX-GM-THRID: 1\r\n\r\nx\r\n\r\n", Auto, []string{"X-GM-THRID: 1\r\n\r\nx\r\n"}},
		"UUCP":                   {line + plain + "\nFrom uunet!anna Thu Nov 26 03:29 2026 remote from uunet\n>From ben Thu Nov 26 03:28 2026 remote from far\nSubject: x\n\ny\n", O, []string{plain, "From ben Thu Nov 26 03:28 2026 remote from far\nSubject: x\n\ny\n"}},
		"mboxo":                  {line + "A: b\n\n>From x\n>>From y\n> From z\n\n", O, []string{"A: b\n\nFrom x\n>>From y\n> From z\n"}},
		"mboxrd":                 {line + "A: b\n\n>From x\n>>From y\n> From z\n\n", RD, []string{"A: b\n\nFrom x\n>From y\n> From z\n"}},
		"found out":              {line + "A: b\n\n>From x\n>>From y\n\n", Auto, []string{"A: b\n\nFrom x\n>From y\n"}},
		"mboxcl2":                {line + cl2 + "\n" + line + counted("b\n") + "\n", Auto, []string{cl2, counted("b\n")}},
		"mboxcl2, said":          {line + cl2 + "\n" + line + counted("b\n") + "\n", CL2, []string{cl2, counted("b\n")}},
		"mboxcl2, > kept":        {line + counted(">From x\n") + "\n", CL2, []string{counted(">From x\n")}},
		"mboxcl":                 {line + counted(">From x\n") + "\n" + line + counted("b\n"), Auto, []string{strings.Replace(counted(">From x\n"), ">From", "From", 1), counted("b\n")}},
		"mboxcl2, no last end":   {line + counted("a\n\nFrom b") + "\n\n" + line + counted("c") + "\n\n", Auto, []string{counted("a\n\nFrom b"), counted("c")}},
		"a length that is wrong": {line + "Content-Length: 3\n\nbody\n\n" + line + plain, Auto, []string{"Content-Length: 3\n\nbody\n", plain}},
		"one that is too large":  {line + "Content-Length: 99999999999999999999\n\nbody\n\n" + line + plain, CL, []string{"Content-Length: 99999999999999999999\n\nbody\n", plain}},
		"one that is no number":  {line + "Content-Length: x\n\nbody\n\n" + line + plain, CL2, []string{"Content-Length: x\n\nbody\n", plain}},
		"a long line":            {line + "A: b\n\n" + long + "\n" + line + plain, Auto, []string{"A: b\n\n" + long, plain}},
		"octets":                 {line + "A: b\n\n\x00\xff\r\r\n\n", Auto, []string{"A: b\n\n\x00\xff\r\r\n"}},
		"a long From_ line":      {"From " + strings.Repeat("x", 3*buffer) + "\n" + plain, Auto, []string{plain}},
		"From_ line without end": {line + plain + "\n" + strings.TrimSuffix(line, "\n"), Auto, []string{plain, ""}},
	} {
		got, _ := all(t, c.file, c.dialect)
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", c.want) {
			t.Errorf("%s: %.300q\nwant %.300q", name, got, c.want)
		}
	}
}

// A Content-Length that somebody sent, to make the next message a part of
// theirs, leads nowhere in a file that is not of that dialect.
func TestSwallow(t *testing.T) {
	t.Parallel()
	victim := line + "Subject: victim\n\nhello\n\n"
	evil := "Content-Length: " + fmt.Sprint(len("x\n\n")+len(victim)-1) + "\n\nx\n"
	file := line + "Subject: first\n\nx\n\n" + line + evil + "\n" + victim + line + "Subject: last\n\ny\n"
	got, _ := all(t, file, Auto)
	if len(got) != 4 || !strings.HasPrefix(got[2], "Subject: victim") {
		t.Errorf("%q", got)
	}
}

func TestNotMbox(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"Subject: x\n\ny\n", "x", strings.Repeat("\n", maxBlank+1) + line} {
		_, err := NewReader(strings.NewReader(file), int64(len(file)), Auto).Next()
		if !errors.Is(err, ErrNotMbox) {
			t.Errorf("%.20q: %v", file, err)
		}
	}
	broken := errors.New("broken")
	_, err := NewReader(failing{broken}, 100, Auto).Next()
	if !errors.Is(err, broken) {
		t.Error(err)
	}
	for name, want := range map[string]bool{"auto": true, "mboxcl2": true, "maildir": false, "": false} {
		if _, err := ParseDialect(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A file that others shorten meanwhile is not taken for all that it was.
func TestShortened(t *testing.T) {
	t.Parallel()
	file := line + "A: b\n\n" + strings.Repeat("x\n", 10) + "\n" + line + "C: d\n\n"
	r := NewReader(strings.NewReader(file), int64(len(file)+1), Auto)
	m, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the second: %v", err)
	}
	m.src = strings.NewReader(file[:m.end-1])
	if _, err := io.ReadAll(m.Open()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the first: %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestFrom(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"anna@example.org Thu Nov 26 03:29:00 2026":             "anna@example.org|2026-11-26T03:29:00Z",
		"anna@example.org  Thu Nov  5 03:29:00 2026\r":          "anna@example.org|2026-11-05T03:29:00Z",
		"anna Thu Nov 26 03:29 2026":                            "anna|2026-11-26T03:29:00Z",
		"anna Thu Nov 26 03:29:00 +0100 2026":                   "anna|2026-11-26T02:29:00Z",
		"anna Thu Nov 26 03:29:00 2026 -0500":                   "anna|2026-11-26T08:29:00Z",
		"anna Thu Nov 26 03:29:00 EST 2026":                     "anna|2026-11-26T08:29:00Z",
		"anna Thu Nov 26 03:29:00 MET DST 2026":                 "anna|2026-11-26T03:29:00Z",
		"anna Thu, 26 Nov 2026 03:29:00 +0100":                  "anna|2026-11-26T02:29:00Z",
		"Thu Nov 26 03:29:00 2026":                              "|2026-11-26T03:29:00Z",
		"- Thu Nov 26 03:29:00 2026":                            "-|2026-11-26T03:29:00Z",
		"a b <c@d> Thu Nov 26 03:29:00 2026":                    "a b <c@d>|2026-11-26T03:29:00Z",
		"uunet!anna Thu Nov 26 03:29:00 2026 remote from uunet": "uunet!anna|2026-11-26T03:29:00Z",
		"thu@example.org Thu Nov 26 03:29:00 2026":              "thu@example.org|2026-11-26T03:29:00Z",
		"":                                    "|bare",
		"???@???":                             "???@???|bare",
		"my point of view":                    "my point of view|",
		"Thursday to Friday, Nov 26":          "Thursday to Friday, Nov 26|",
		"anna Thu Nov 31 03:29:00 2026":       "anna Thu Nov 31 03:29:00 2026|",
		"anna Thu Nov 26 25:29:00 2026":       "anna Thu Nov 26 25:29:00 2026|",
		"anna Thu Nov 26 03:29:00 1969":       "anna Thu Nov 26 03:29:00 1969|",
		"anna Thu Nov 26 26 26 03:29:00 2026": "anna Thu Nov 26 26 26 03:29:00 2026|",
	} {
		f := parseFrom([]byte("From " + text + "\n"))
		got := f.sender + "|"
		switch {
		case f.dated():
			got += f.date.UTC().Format(time.RFC3339)
		case f.bare:
			got += "bare"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if f := parseFrom([]byte("Form x")); f.dated() || f.bare {
		t.Errorf("%+v", f)
	}
}

// What is written comes back, and where a message begins is known.
func TestWrite(t *testing.T) {
	t.Parallel()
	messages := []string{
		"Subject: x\n\nFrom me\n>From you\n>>>From them\n", "", "no end", "From the start\n", "A: b\n\n\n\n", "A: b\r\n\r\nc\r\n",
		strings.Repeat("x", buffer-2) + "\nFrom x\n",
	}
	var file bytes.Buffer
	w := NewWriter(&file)
	for i, m := range messages {
		if err := w.Add(time.Unix(1e9+int64(i), 0), strings.NewReader(m)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []Dialect{Auto, RD} {
		got, found := all(t, file.String(), d)
		if len(got) != len(messages) {
			t.Fatalf("%s: %d messages of %d: %q", d, len(got), len(messages), got)
		}
		for i, m := range messages {
			if got[i] != m && got[i] != m+"\n" {
				t.Errorf("%s: %.50q came back as %.50q", d, m, got[i])
			}
			if f := found[i]; f.Sender != "MAILER-DAEMON" || f.Date.Unix() != 1e9+int64(i) || f.CRLF ||
				!strings.HasPrefix(file.String()[f.At:], "From ") {
				t.Errorf("%s: %+v", d, f)
			}
		}
	}
	broken := errors.New("broken")
	if err := w.Add(time.Time{}, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(line+"Subject: x\n\nbody\n\n"+line+"A: b\n\n>From c\n"), byte(0))
	f.Add([]byte(line+counted("a\n\nFrom b\n")+"\n"+line+counted("c\n")), byte(4))
	f.Add([]byte("From \r\nA: b\r\n\r\n\r\nFrom -\r\nX-Mozilla-Status: 0001\r\n\r\n"), byte(1))
	dialects := []Dialect{Auto, O, RD, CL, CL2}
	f.Fuzz(func(t *testing.T, file []byte, n byte) {
		r := NewReader(bytes.NewReader(file), int64(len(file)), dialects[int(n)%len(dialects)])
		end := int64(0)
		for {
			m, err := r.Next()
			if err != nil {
				if err != io.EOF && !errors.Is(err, ErrNotMbox) {
					t.Fatal(err)
				}
				return
			}
			// In order, without overlap, and nothing between but From_ lines
			// and empty lines.
			if m.At < end || m.start <= m.At || m.end < m.start || m.end > int64(len(file)) {
				t.Fatalf("%d to %d at %d, after %d of %d", m.start, m.end, m.At, end, len(file))
			}
			if gap := bytes.Trim(file[end:m.At], "\r\n"); len(gap) > 0 && !(end == 0 && string(gap) == "\xef\xbb\xbf") {
				t.Fatalf("%q is in no message", gap)
			}
			got, err := io.ReadAll(m.Open())
			if err != nil || int64(len(got)) > m.Size() {
				t.Fatalf("%d of %d octets, %v", len(got), m.Size(), err)
			}
			end = m.end
		}
	})
}

func FuzzWrite(f *testing.F) {
	f.Add([]byte("Subject: x\n\nFrom me\n"), []byte(">From you\n\n"))
	f.Add([]byte("From x"), []byte("\n\n\r\n"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var file bytes.Buffer
		w := NewWriter(&file)
		for _, m := range [][]byte{a, b} {
			if err := w.Add(time.Unix(1e9, 0), bytes.NewReader(m)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got, _ := all(t, file.String(), RD)
		if len(got) != 2 {
			t.Fatalf("%d messages in %q", len(got), file.String())
		}
		for i, m := range []string{string(a), string(b)} {
			if got[i] != m && got[i] != m+"\n" {
				t.Errorf("%q came back as %q", m, got[i])
			}
		}
	})
}
