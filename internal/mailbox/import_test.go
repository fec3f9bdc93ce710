package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"gatepost/internal/lines"
	"gatepost/internal/mailbox/title"
)

// bring imports messages, each its own content, and returns what File said.
func (h *house) bring(t *testing.T, again bool, messages ...Incoming) (filed, known int) {
	t.Helper()
	i, err := h.Import(t.Context(), 1, 0, again)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	var list []*Taken
	for _, m := range messages {
		taken, err := i.Take(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, taken)
	}
	filed, known, err = i.File(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	return filed, known
}

func incoming(folder, content string) Incoming {
	return Incoming{Folder: folder, Content: strings.NewReader(content)}
}

// What is imported is there as it was, with all that is known of it.
func TestImport(t *testing.T) {
	t.Parallel()
	h := open(t)
	large := "Subject: large\n\n" + strings.Repeat("0123456789abcdef\n", 10_000) + "no end"
	when := time.Date(2015, 1, 2, 3, 4, 5, 0, time.UTC)
	filed, known := h.bring(t, false,
		Incoming{Folder: "Work/2015", Flags: Seen | Flagged, Keywords: []string{"$Forwarded", "x"}, Date: when, Content: strings.NewReader("Subject: small\n\n\x00\xff\r\n")},
		Incoming{Folder: "Work/2015", Content: strings.NewReader(large)},
		Incoming{Folder: Inbox, Content: strings.NewReader("Date: Fri, 2 Jan 2015 03:04:05 +0000\r\n\r\nx\r\n")},
		Incoming{Folder: Inbox, CRLF: true, Content: strings.NewReader("Subject: y\r\n\r\ny\r\n")},
	)
	if filed != 4 || known != 0 {
		t.Fatalf("%d filed, %d known", filed, known)
	}
	for folder, want := range map[string]string{
		"Work/2015": `small [\Seen \Flagged] [$Forwarded x] 2015-01-02T03:04:05Z "\x00\x02" "Subject: small\r\n\r\n\x00\xff\r\n"` + "\n" +
			`large [] [] 2026-11-22T03:29:00Z "\x01" ` + fmt.Sprintf("%q", strings.ReplaceAll(large, "\n", "\r\n")+"\r\n"),
		Inbox: ` [] [] 2015-01-02T03:04:05Z "\x00\x00" "Date: Fri, 2 Jan 2015 03:04:05 +0000\r\n\r\nx\r\n"` + "\n" +
			`y [] [] 2026-11-22T03:29:00Z "" "Subject: y\r\n\r\ny\r\n"`,
	} {
		var got []string
		for _, m := range h.list(t, 1, folder) {
			c, err := h.Open(t.Context(), 1, m.ID)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(c)
			c.Close()
			if err != nil || int64(len(b)) != m.Size || c.Size != m.Size {
				t.Errorf("%d octets of %d and %d, %v", len(b), m.Size, c.Size, err)
			}
			got = append(got, fmt.Sprintf("%s %v %v %s %q %q", m.Subject, c.Flags.Names(), c.Keywords, c.Received.Format(time.RFC3339), c.Ends, b))
		}
		if s := strings.Join(got, "\n"); s != want {
			t.Errorf("%s:\n%.600s\nwant\n%.600s", folder, s, want)
		}
	}
	if list, _ := h.checked(t); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	if files := h.files(t); len(files) != 1 {
		t.Errorf("files: %q", files)
	}
}

// The same again files nothing; of two that are alike, both are filed.
func TestImportAgain(t *testing.T) {
	t.Parallel()
	h := open(t)
	large := strings.Repeat("x", inlineBound) + "\n"
	all := func() []Incoming {
		return []Incoming{
			incoming(Inbox, "Subject: a\n\na\n"), incoming(Inbox, "Subject: a\n\na\n"), incoming("Other", "Subject: a\n\na\n"),
			incoming(Inbox, large), incoming(Inbox, large),
		}
	}
	for _, step := range []struct {
		what         string
		again        bool
		list         []Incoming
		filed, known int
	}{
		{"a part", false, all()[:1], 1, 0},
		{"all of it", false, all(), 4, 1},
		{"the same", false, all(), 0, 5},
		{"without what programs change", false, []Incoming{incoming(Inbox, "X-Mozilla-Status: 0001\r\nSubject: a\r\nStatus: RO\r\n\r\na\r\n")}, 0, 1},
		{"one more copy", false, append(all(), incoming(Inbox, large)), 1, 5},
		{"against one's word", true, all()[:1], 1, 0},
		{"the same after that", false, append(all(), incoming(Inbox, large), incoming(Inbox, "Subject: a\n\na\n")), 0, 7},
	} {
		if filed, known := h.bring(t, step.again, step.list...); filed != step.filed || known != step.known {
			t.Errorf("%s: %d filed, %d known; want %d and %d", step.what, filed, known, step.filed, step.known)
		}
	}
	if n := len(h.list(t, 1, Inbox)); n != 6 {
		t.Errorf("%d messages", n)
	}
	if files := h.files(t); len(files) != 3 {
		t.Errorf("files: %q", files)
	}
	if list, _ := h.checked(t); len(list) != 0 {
		t.Errorf("%+v", list)
	}

	h.dismiss(t, 1)
	if err := h.Remove(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n := h.count(t, "imported"); n != 0 {
		t.Errorf("%d rows outlive the mailbox", n)
	}
}

// What does not fit is left, what came before it is there, and the next import
// goes on.
func TestImportQuota(t *testing.T) {
	t.Parallel()
	h := open(t)
	large := strings.Repeat("y", inlineBound+1)
	i, err := h.Import(t.Context(), 1, 1000, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Import(t.Context(), 1, 0, false); !errors.Is(err, ErrImporting) {
		t.Errorf("a second one: %v", err)
	}
	var list []*Taken
	for _, content := range []string{strings.Repeat("a", 400), strings.Repeat("b", 400), large, "small"} {
		taken, err := i.Take(t.Context(), incoming(Inbox, content))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, taken)
	}
	if filed, known, err := i.File(t.Context(), list); filed != 2 || known != 0 || !errors.Is(err, ErrQuota) {
		t.Errorf("%d, %d, %v", filed, known, err)
	}
	i.Close()
	if got := h.used(t, 1); got != 804 {
		t.Errorf("%d octets are used", got)
	}
	if files := h.files(t); len(files) != 0 {
		t.Errorf("files: %q", files)
	}
	filed, known := h.bring(t, false, incoming(Inbox, strings.Repeat("a", 400)), incoming(Inbox, strings.Repeat("b", 400)), incoming(Inbox, large), incoming(Inbox, "small"))
	if filed != 2 || known != 2 {
		t.Errorf("with room: %d, %d", filed, known)
	}
	if list, _ := h.checked(t); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestImportRefused(t *testing.T) {
	t.Parallel()
	h := open(t)
	i, err := h.Import(t.Context(), 1, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	broken := errors.New("broken")
	large := strings.Repeat("z", inlineBound+1)
	for what, c := range map[string]struct {
		in   Incoming
		want error
	}{
		"nothing":              {incoming(Inbox, ""), ErrEmpty},
		"no name":              {incoming("a/../b", "x"), ErrName},
		"a reader that breaks": {Incoming{Folder: Inbox, Content: iotest.ErrReader(broken)}, broken},
		"later":                {Incoming{Folder: Inbox, Content: io.MultiReader(strings.NewReader(large), iotest.ErrReader(broken))}, broken},
		"a keyword in two":     {Incoming{Folder: Inbox, Keywords: []string{"a b"}, Content: strings.NewReader("x")}, ErrKeyword},
		"an empty one":         {Incoming{Folder: Inbox, Keywords: []string{""}, Content: strings.NewReader("x")}, ErrKeyword},
		"too many":             {Incoming{Folder: Inbox, Keywords: make([]string, title.MaxKeywords+1), Content: strings.NewReader("x")}, ErrKeyword},
	} {
		if _, err := i.Take(t.Context(), c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	taken, err := i.Take(t.Context(), incoming(Inbox, strings.Repeat("a\nb\r\n", lines.MaxNote)))
	if err != nil || !errors.Is(taken.Noted, lines.ErrMany) {
		t.Errorf("%v, %v", taken.Noted, err)
	}
	i.Drop([]*Taken{taken})
	h.blobs.mu.Lock()
	h.blobs.fail = broken
	h.blobs.mu.Unlock()
	if _, err := i.Take(t.Context(), incoming(Inbox, large)); !errors.Is(err, broken) {
		t.Error(err)
	}
	if files := h.files(t); len(files) != 0 {
		t.Errorf("files: %q", files)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Import(ended, 2, 0, false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if i, err := h.Import(t.Context(), 2, 0, false); err != nil {
		t.Error(err)
	} else {
		i.Close()
	}
}

func TestParseFlags(t *testing.T) {
	t.Parallel()
	f, words := ParseFlags([]string{`\seen`, "a", `\Draft`, `\Recent`, "$b"})
	if f != Seen|Draft || fmt.Sprint(words) != "[a $b]" {
		t.Errorf("%v %q", f.Names(), words)
	}
}

// A note that nobody wrote, and rows of an import into nothing, are found.
func TestCheckImported(t *testing.T) {
	t.Parallel()
	h := open(t)
	h.bring(t, false, incoming(Inbox, "Subject: x\n\nx\n"))
	for query, want := range map[string]string{
		`UPDATE body SET ends = 'x'`:         "The content of message 1 in user1@example.org, INBOX has a note of its line ends",
		`UPDATE imported SET account = 77`:   "What is remembered of an import into no mailbox of account 77",
		`UPDATE imported SET copies = 0`:     "What is remembered of an import into the mailbox of account 1 has 16 octets and stands for 0 messages",
		`UPDATE imported SET same = 'short'`: "What is remembered of an import into the mailbox of account 1 has 5 octets",
	} {
		h.undone(t, func(w within) {
			w.sql(t, query)
			list, _ := h.check1(t, w)
			expect(t, query, list, want)
		})
	}
}
