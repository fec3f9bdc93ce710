package message

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// crlf writes a header in a test as lines.
func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

func TestFields(t *testing.T) {
	t.Parallel()
	header := crlf("Subject: one\n two\n\t three  \nno field here\nX-Empty:\nFrom :old@example.org\n\nBody: not a field\n")
	type field struct{ Name, Value string }
	var got []field
	raw := ""
	for f := range Fields(header) {
		got = append(got, field{f.Name(), f.Value()})
		raw += string(f.Raw)
	}
	want := []field{
		{"Subject", "one two\t three"},
		{"", "no field here"},
		{"X-Empty", ""},
		{"From", "old@example.org"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if end := strings.Index(string(header), "\r\n\r\n"); raw != string(header[:end+2]) {
		t.Errorf("the raw fields do not make up the section: %q", raw)
	}
}

func TestFieldsDoNotAllocate(t *testing.T) {
	header := crlf("Received: by a\n with b\nFrom: a@example.org\nAuthentication-Results: x\nSubject: s\n\n")
	n := 0
	allocs := testing.AllocsPerRun(100, func() {
		for f := range Fields(header) {
			if f.Is("authentication-RESULTS") {
				n++
			}
		}
	})
	if allocs != 0 || n == 0 {
		t.Errorf("%v allocations, found %d times", allocs, n)
	}
}

func TestFieldNames(t *testing.T) {
	t.Parallel()
	header := crlf("DATE: 1\nDate : 2\ndate\t: 3\nDates: 4\nDat: 5\nX Date: 6\nDate\n : 7\n")
	if n := Count(header, "Date"); n != 3 {
		t.Errorf("Count = %d, want 3: the old form with white space counts, others do not", n)
	}
	if !Has(header, "dat") || Has(header, "x date") || Has(header, "") {
		t.Error("Has takes what is no field, or misses one")
	}
	if f, ok := Find(header, "date"); !ok || f.Value() != "1" {
		t.Errorf("Find = %q, %v", f.Value(), ok)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	header := crlf("A: 1\nBcc: x\n y\nB: 2\nbcc : z\nC: 3\nX-Bcc: stays\n\n")
	if got, want := string(Remove(header, "Bcc", "c")), string(crlf("A: 1\nB: 2\nX-Bcc: stays\n\n")); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Remove(header, "absent"); &got[0] != &header[0] {
		t.Error("an unchanged section was copied")
	}
	if got := string(Remove(crlf("Bcc: last\n"), "BCC")); got != "" {
		t.Errorf("got %q", got)
	}
	if got := string(Remove(crlf("A: 1\n\nBcc: in the body\n"), "Bcc")); got != string(crlf("A: 1\n\nBcc: in the body\n")) {
		t.Errorf("the body was edited: %q", got)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, header string
		want         error
		line         string
	}{
		{"plain", "From: a@example.org\r\nSubject: x\r\n\r\n", nil, ""},
		{"no empty line", "From: a@example.org\r\n", nil, ""},
		{"nothing", "", nil, ""},
		{"only the empty line", "\r\n", nil, ""},
		{"folded", "Subject: a\r\n b\r\n\tc\r\n", nil, ""},
		{"line of white space in a fold", "Subject: a\r\n \t \r\n b\r\n\r\n", nil, ""},
		{"UTF-8 value", "Subject: grüße\r\n\r\n", nil, ""},
		{"empty value", "Subject:\r\n\r\n", nil, ""},
		{"bare LF", "A: 1\r\nB: 2\nC: 3\r\n", ErrLineEnd, "line 2"},
		{"bare CR", "A: 1\rB: 2\r\n", ErrControl, "line 1"},
		{"no end", "A: 1", ErrLineEnd, "line 1"},
		{"NUL", "A: \x00\r\n", ErrControl, "line 1"},
		{"DEL", "A: \x7f\r\n", ErrControl, "line 1"},
		{"no colon", "A: 1\r\nhello\r\n", ErrFieldName, "line 2"},
		{"no name", ": 1\r\n", ErrFieldName, "line 1"},
		{"space in name", "A B: 1\r\n", ErrFieldName, "line 1"},
		{"space before colon", "Subject : a\r\n", ErrFieldName, "line 1"},
		{"8-bit name", "Sübject: 1\r\n", ErrFieldName, "line 1"},
		{"fold first", " A: 1\r\n", ErrFold, "line 1"},
		{"mbox", "From a@example.org Thu Jan  1 00:00:00 1970\r\nA: 1\r\n", ErrMbox, "line 1"},
		{"mbox within", "A: 1\r\nFrom me: x\r\n", ErrMbox, "line 2"},
		{"body", "A: 1\r\n\r\nB: 2\r\n", ErrAfterBlank, "line 3"},
		{"name split by a fold", "From\r\n : x@example.org\r\n", ErrFieldName, "line 1"},
		{"as many as may be", strings.Repeat("A: 1\r\n b\r\n", MaxFields), nil, ""},
		{"too many", strings.Repeat("A: 1\r\n", MaxFields+1), ErrTooMany, "line 1001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := Check([]byte(tt.header))
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.line+":") {
				t.Errorf("got %v, want %v on %s", err, tt.want, tt.line)
			}
		})
	}
}
