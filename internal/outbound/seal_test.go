package outbound

import (
	"strings"
	"testing"

	"gatepost/internal/arc"
	"gatepost/internal/authres"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
)

// seal adds a set to a message as another server does.
func (w *town) seal(content string) string {
	header, body, _ := strings.Cut(content, "\r\n\r\n")
	s, err := arc.NewSealer([]byte(header+"\r\n"), dkim.SigningKey{Domain: "author.example", Selector: "s", Signer: key()}, w.chain(content),
		authres.Results{ID: "mx.author.example"}, now)
	if err != nil {
		w.t.Fatal(err)
	}
	s.Write([]byte(body))
	set, err := s.Seal()
	if err != nil {
		w.t.Fatal(err)
	}
	return string(set) + content
}

// The chain goes on as far as what was found of it allows.
func TestChain(t *testing.T) {
	t.Parallel()
	const said = "Authentication-Results: mx.example.org; spf=none"
	w := newTown(t)
	once := w.seal(letter)
	twice := w.seal(once)
	broken := strings.Replace(once, "Hello", "Goodbye", 1)
	failed := w.seal(broken)
	for _, c := range []struct {
		name, header, content string
		instances             int // the highest that leaves
		status                arc.Status
		warns                 string
	}{
		{"none before", said + "\r\n", letter, 1, arc.Pass, ""},
		{"one before", said + "; arc=pass\r\n", once, 2, arc.Pass, ""},
		{"two before", said + "; arc=pass\r\n", twice, 3, arc.Pass, ""},
		{"one that fails", said + "; arc=fail\r\n", broken, 2, arc.Fail, ""},
		{"one that was sealed as failed", said + "; arc=fail\r\n", failed, 2, arc.Fail, "known to have failed"},
		{"as long as can be", said + "; arc=fail\r\n", "ARC-Seal: i=50; cv=pass\r\n" + letter, 50, arc.Fail, "cannot be longer"},
		{"of which nothing is known", said + "\r\n", once, 1, arc.Pass, "could not be told"},
		{"verified by nobody", "", letter, 0, arc.None, ""},
		{"verified by another", "Authentication-Results: mx.evil.example; spf=pass\r\n", letter, 0, arc.None, ""},
		{"results that cannot be read", "Authentication-Results: mx.example.org; spf\r\n", letter, 0, arc.None, ""},
	} {
		w := newTown(t)
		w.Outbound.Deliver(t.Context(), w.post(envelope.Proven, author, c.header, c.content, "x@remote.example via sales@example.org"))
		r := w.chain(w.out[0].content)
		if r.Status != c.status || r.Instances != c.instances {
			t.Errorf("%s: %+v\n%s", c.name, r, w.out[0].content)
		}
		if got := w.log.String(); c.warns == "" && got != "" || !strings.Contains(got, c.warns) {
			t.Errorf("%s: the log says %q", c.name, got)
		}
		if w.out[0].from != "bounce-sales@example.org" {
			t.Errorf("%s: from %s", c.name, w.out[0].from)
		}
	}
	failing := newTown(t)
	failing.Outbound.Deliver(t.Context(), failing.post(envelope.Proven, author, said+"; arc=fail\r\n", broken, "x@remote.example via sales@example.org"))
	if !strings.Contains(failing.out[0].content, "cv=fail") {
		t.Errorf("%s", failing.out[0].content)
	}
}

func TestNoKeyToSealWith(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	w.keys.shown = false
	w.Outbound.Deliver(t.Context(), w.post(envelope.Proven, author, found, letter, "x@remote.example via sales@example.org"))
	if s := w.out[0]; s.from != "bounce-sales@example.org" || strings.Contains(s.content, "ARC-") {
		t.Errorf("%+v", s)
	}
}

// Where the header ends is found as a session does, also behind lines of any
// length.
func TestSplit(t *testing.T) {
	t.Parallel()
	long := "X: " + strings.Repeat("y", 4096-3) // fills the reader's buffer
	for _, c := range []struct{ content, section, rest string }{
		{"A: b\r\n\r\nbody\r\n", "A: b\r\n", "body\r\n"},
		{"A: b\r\n\r\n", "A: b\r\n", ""},
		{"\r\nbody\r\n", "", "body\r\n"},
		{"A: b\r\n", "A: b\r\n", ""},
		{long + "\r\nB: c\r\n\r\nbody\r\n", long + "\r\nB: c\r\n", "body\r\n"},
		{long + "z\r\n\r\n\r\n", long + "z\r\n", "\r\n"},
	} {
		section, rest, err := split(envelope.MemoryBody([]byte(c.content)))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for buf := make([]byte, 100); ; {
			n, err := rest.Read(buf)
			b.Write(buf[:n])
			if err != nil {
				break
			}
		}
		if string(section) != c.section || b.String() != c.rest {
			t.Errorf("%.20q: %d octets and %q, want %d and %q", c.content, len(section), b.String(), len(c.section), c.rest)
		}
	}
	if _, _, err := split(envelope.MemoryBody(make([]byte, maxHeader+5000))); err != errHeader {
		t.Error(err)
	}
}
