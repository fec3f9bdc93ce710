package moving

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatepost/internal/message"
)

// state is what mail programs write into the header of a message for want of
// another place: flags, and where it was.
type state struct {
	folder string   // "": not said
	flags  []string // system flags and keywords, without repetition
	top    int      // octets of fields that an export of ours put in front

	received time.Time // of the last hop; zero where it is not said
	sent     time.Time
}

// folderField begins the fields of an export of ours.
const folderField = "X-Gatepost-Folder"

// readState reads the header of a message in a mailbox file. Fields that
// somebody sent along can say no worse than that a message was read, or in
// which of the account's own folders it is.
func readState(header []byte) state {
	s, ok := readTop(header)
	inner := readFields(header[s.top:])
	if ok {
		s.received, s.sent = inner.received, inner.sent
	} else {
		s = inner
	}
	if s.folder != "" {
		s.folder = folderName(strings.Split(s.folder, "/"))
	}
	s.flags = cleanFlags(s.flags)
	return s
}

// readFields reads the fields of the message itself.
func readFields(header []byte) (s state) {
	for f := range message.Fields(header) {
		switch {
		case f.Is("Status"), f.Is("X-Status"):
			s.letters(f.Value())
		case f.Is("X-Keywords"), f.Is("X-Mozilla-Keys"):
			s.set(strings.Fields(f.Value())...)
		case f.Is("X-Mozilla-Status"):
			s.mozilla(f.Value())
		case f.Is("X-Gmail-Labels"):
			s.labels(f.Value())
		case f.Is("Received") && s.received.IsZero():
			s.received = date(f.Value()[strings.LastIndexByte(f.Value(), ';')+1:])
		case f.Is("Date") && s.sent.IsZero():
			s.sent = date(f.Value())
		}
	}
	return s
}

// date reads a date, or returns zero for one that no mailbox can keep.
func date(value string) time.Time {
	t, err := message.ParseDate(strings.TrimSpace(value))
	if err != nil || t.UTC().Year() < 1970 || t.UTC().Year() > 9999 {
		return time.Time{}
	}
	return t
}

// set adds flags.
func (s *state) set(flags ...string) {
	for _, f := range flags {
		if f != "" && !slices.Contains(s.flags, f) {
			s.flags = append(s.flags, f)
		}
	}
}

// letters are the values of Status and X-Status.
var letters = []struct {
	letter rune
	flag   string
	extra  bool // it belongs into X-Status
}{
	{'R', `\Seen`, false}, {'A', `\Answered`, true}, {'F', `\Flagged`, true}, {'D', `\Deleted`, true}, {'T', `\Draft`, true},
}

func (s *state) letters(value string) {
	for _, l := range letters {
		if strings.ContainsRune(value, l.letter) {
			s.set(l.flag)
		}
	}
}

// mozilla reads the flags that Thunderbird keeps in a number. A message that
// was deleted there and not removed yet is marked so: nothing is left out.
func (s *state) mozilla(value string) {
	bits, err := strconv.ParseUint(value, 16, 32)
	if err != nil {
		return
	}
	for _, f := range []struct {
		bit  uint64
		flag string
	}{
		{0x0001, `\Seen`}, {0x0002, `\Answered`}, {0x0004, `\Flagged`}, {0x0008, `\Deleted`}, {0x1000, "$Forwarded"},
	} {
		if bits&f.bit != 0 {
			s.set(f.flag)
		}
	}
}

// gmail are the labels that Gmail gives a meaning. A message has one folder:
// that of the first of these, else its first other label.
var gmail = []struct{ label, folder, flag string }{
	{"trash", "Trash", ""}, {"spam", "Junk", ""}, {"drafts", "Drafts", `\Draft`}, {"draft", "Drafts", `\Draft`},
	{"sent", "Sent", ""}, {"inbox", inbox, ""}, {"starred", "", `\Flagged`},
}

const (
	inbox   = "INBOX"
	archive = "Archive"
)

// maxLabels bounds the labels of a message that are looked at.
const maxLabels = 100

// labels reads what Google Takeout writes: labels separated by commas, as
// encoded words where they are not US-ASCII. What is not marked as unread was
// read. Gmail's categories are left out, and other labels become keywords.
func (s *state) labels(value string) {
	var own []string
	known := map[string]bool{}
	for i, label := range strings.Split(message.Decode(value), ",") {
		if label = strings.Trim(label, ` "`); label == "" || i >= maxLabels {
			continue
		}
		switch lower := strings.ToLower(label); {
		case lower == "important", lower == "opened", lower == "archived", lower == "unread", strings.HasPrefix(lower, "category "), isGmail(lower):
			known[lower] = true
		default:
			own = append(own, label)
		}
	}
	if !known["unread"] {
		s.set(`\Seen`)
	}
	for _, g := range gmail {
		if known[g.label] {
			s.set(g.flag)
			if s.folder == "" {
				s.folder = g.folder
			}
		}
	}
	if s.folder == "" && len(own) > 0 {
		s.folder, own = own[0], own[1:]
	}
	if s.folder == "" {
		s.folder = archive
	}
	s.set(own...)
}

func isGmail(lower string) bool {
	return slices.ContainsFunc(gmail, func(g struct{ label, folder, flag string }) bool { return g.label == lower })
}

// topFields are those that an export puts in front, in order.
var topFields = []string{folderField, "Status", "X-Status", "X-Keywords"}

// readTop reads the fields that an export of ours put in front.
func readTop(header []byte) (s state, ok bool) {
	i := 0
	for f := range message.Fields(header) {
		if i == len(topFields) {
			break
		}
		// One line each: what follows the last may look like more of it.
		line, more, _ := bytes.Cut(f.Raw, []byte("\n"))
		if !f.Is(topFields[i]) || len(more) > 0 && i < len(topFields)-1 {
			return state{}, false
		}
		_, value, _ := bytes.Cut(line, []byte(":"))
		switch v := strings.TrimSpace(string(value)); {
		case i == 0:
			s.folder = v
		case i == len(topFields)-1:
			s.set(strings.Fields(v)...)
		default:
			s.letters(v)
		}
		s.top += len(f.Raw) - len(more)
		i++
	}
	return s, i == len(topFields)
}

// top returns the fields that say what the message itself does not: nothing
// when an import would find the same folder and flags without them.
func top(header []byte, folder string, flags []string) []byte {
	s := readState(header)
	if s.folder == "" {
		s.folder = inbox
	}
	if s.top == 0 && s.folder == folder && sameFlags(s.flags, flags) {
		return nil
	}
	var status, extra, words []byte
	status = append(status, 'O')
	for _, f := range flags {
		letter, extras := letterOf(f)
		switch {
		case letter == 0:
			words = append(append(words, ' '), f...)
		case extras:
			extra = append(extra, letter)
		default:
			status = append([]byte{letter}, status...)
		}
	}
	return slices.Concat(
		[]byte(folderField+": "+folder+"\nStatus: "), status,
		[]byte("\nX-Status: "), extra,
		[]byte("\nX-Keywords:"), words, []byte("\n"))
}

func letterOf(flag string) (letter byte, extra bool) {
	for _, l := range letters {
		if l.flag == flag {
			return byte(l.letter), l.extra
		}
	}
	return 0, false
}

// sameFlags compares without order.
func sameFlags(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// headerOf returns the header section at the beginning of a message, without
// the empty line, as far as it is there.
func headerOf(head []byte) []byte {
	for _, end := range []string{"\n\n", "\n\r\n"} {
		if i := bytes.Index(head, []byte(end)); i >= 0 {
			head = head[:i+1]
		}
	}
	return head
}
