package outbound

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/envelope"
)

// What was signed long ago, by a key that is used no more, or not at all
// since no key was there, is signed as of now; what was held too.
func TestRenew(t *testing.T) {
	t.Parallel()
	const ours = "From: anna@example.org\r\nSubject: hi\r\n\r\nHello.\r\n"
	const theirs = letter
	w := newTown(t)
	w.keys.shown = true
	field, _, _ := strings.Cut(w.signed("example.org", ours), "From: ")
	gone := strings.Replace(field, "s=s;", "s=gone;", 1)
	if gone == field {
		t.Fatal(field)
	}
	const trace = "Received: by mx.example.org\r\n"
	for _, c := range []struct {
		name    string
		origin  envelope.Origin
		header  string
		content string
		waited  time.Duration
		afresh  bool
		shown   bool
		want    []string // signatures
		same    bool     // as it was
	}{
		{"fresh", envelope.User, trace + field, ours, time.Minute, false, true, []string{"pass example.org"}, true},
		{"fresh, its key has gone", envelope.User, trace + gone, ours, time.Minute, false, true, []string{"permerror example.org"}, true},
		{"an hour", envelope.User, trace + field, ours, time.Hour, false, true, []string{"pass example.org"}, true},
		{"an hour, its key has gone", envelope.User, trace + gone, ours, time.Hour, false, true, []string{"pass example.org"}, false},
		{"an hour, and there is no key any more", envelope.User, trace + field, ours, time.Hour, false, false, nil, false},
		{"an hour, when there was no key yet", envelope.User, trace, ours, time.Hour, false, true, []string{"pass example.org"}, false},
		{"fresh, when there was no key yet", envelope.User, trace, ours, time.Minute, false, true, nil, true},
		{"a day", envelope.User, trace + field, ours, 24 * time.Hour, false, true, []string{"pass example.org"}, false},
		{"a day, of our own", envelope.Self, trace + field, ours, 24 * time.Hour, false, true, []string{"pass example.org"}, false},
		{"a day, of a relay", envelope.Relay, trace + field, ours, 24 * time.Hour, false, true, []string{"pass example.org"}, false},
		{"held for a minute", envelope.User, trace + field, ours, time.Minute, true, true, []string{"pass example.org"}, false},
		{"held before there was a key", envelope.User, trace, ours, time.Minute, true, true, []string{"pass example.org"}, false},
		{"held, of the world", envelope.Proven, trace, theirs, time.Minute, true, true, nil, true},
		{"held, of the world in our name", envelope.Remote, trace, ours, 48 * time.Hour, true, true, nil, true},
		{"held, of a relay in another's name", envelope.Relay, trace, theirs, time.Minute, true, true, nil, false},
	} {
		w := newTown(t)
		w.keys.shown = c.shown
		a := w.post(c.origin, "anna@example.org", c.header, c.content, "x@remote.example")
		a.Envelope.Received, a.Afresh = now.Add(-c.waited), c.afresh
		w.Outbound.Deliver(t.Context(), a)
		s := w.out[0]
		if got := w.signatures(s.content); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q\n%s", c.name, got, c.want, s.content)
		}
		if (s.envelope == a.Envelope) != c.same {
			t.Errorf("%s: it is the same envelope: %v", c.name, !c.same)
		}
		if !strings.HasPrefix(s.content, trace) || !strings.HasSuffix(s.content, c.content) || string(a.Envelope.Header) != c.header {
			t.Errorf("%s: %s", c.name, s.content)
		}
	}
}

// Held mail that goes on through an alias is both: signed anew, and from the
// alias.
func TestRenewAndForward(t *testing.T) {
	t.Parallel()
	w := newTown(t)
	a := w.post(envelope.User, "anna@example.org", "", "From: anna@example.org\r\n\r\nHello.\r\n", "x@remote.example via sales@example.org")
	a.Afresh = true
	w.Outbound.Deliver(t.Context(), a)
	s := w.out[0]
	if got := w.signatures(s.content); !slices.Equal(got, []string{"pass example.org"}) || s.from != "anna@example.org" || !strings.Contains(s.content, "Delivered-To: sales@") {
		t.Errorf("%q from %s\n%s", got, s.from, s.content)
	}
	if strings.Contains(s.content, "ARC-") {
		t.Error("what we verified nothing of is sealed")
	}
}
