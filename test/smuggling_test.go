package test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// Each false end of a message, on each door and with each verb, makes one
// message or a refusal: in our mailbox, and at servers behind us that would
// believe in it. What is sent on never holds a CR or LF by itself.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	sequences := falseEnds(t)
	behind, chunked := newPeer(t, nil), newPeer(t, nil, "CHUNKING", "8BITMIME")
	s := start(t, "smuggle.test", behind.route("behind.test")+chunked.route("chunked.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n")
	s.gatepost("alias", "add", "all@smuggle.test", s.address(), "x@behind.test", "x@chunked.test")
	inner := "MAIL FROM:<anna@smuggle.test>\r\nRCPT TO:<all@smuggle.test>\r\nDATA\r\n" + letter(s.address(), "inner")

	s.signIn(t, s.address()) // the slow one; those that follow are remembered

	var mu sync.Mutex
	taken := map[string]bool{} // subjects
	t.Run("each", func(t *testing.T) {
		for _, door := range []string{"25", "465"} {
			for _, verb := range []string{"DATA", "BDAT"} {
				for i, end := range sequences {
					for _, cut := range []int{0, 1} { // octets of the end that come with what is behind it
						name := fmt.Sprintf("%s %s %d %d", door, verb, i, cut)
						t.Run(name, func(t *testing.T) {
							t.Parallel()
							c := s.enter(t, door)
							content := letter(s.address(), name) + "outer" + end
							last := c.smuggle(verb, content[:len(content)-cut], content[len(content)-cut:]+inner)
							if !strings.HasPrefix(last, "250") && !strings.HasPrefix(last, "5") {
								t.Errorf("%q is answered with %q", end, last)
							}
							mu.Lock()
							defer mu.Unlock()
							taken[name] = strings.HasPrefix(last, "250")
						})
					}
				}
			}
		}
	})
	// What is told apart above can be told apart: two messages behind one
	// another are two, and a line with a dot in one is content.
	c := s.enter(t, "25")
	c.say("MAIL FROM:<x@remote.test>", "250")
	c.say("RCPT TO:<all@smuggle.test>", "250")
	c.say("DATA", "354")
	c.send(letter(s.address(), "one") + "..\r\n.\r\n" + strings.ReplaceAll(inner, "inner", "two") + ".\r\n")
	for _, want := range []string{"250", "250", "250", "354", "250"} {
		c.expect(want)
	}
	taken["one"], taken["two"] = true, true

	s.settles()
	expected := 0
	for _, ok := range taken {
		if ok {
			expected++
		}
	}
	found := map[string]string{}
	for _, m := range s.inbox(s.address()) {
		if m.Subject == "Your mail now also goes elsewhere" {
			continue // of the server itself, about the alias
		}
		if _, twice := found[m.Subject]; twice || !taken[m.Subject] {
			t.Errorf("the mailbox got %q", m.Subject)
		}
		found[m.Subject] = s.content(s.address(), m.ID)
	}
	if len(found) != expected {
		t.Errorf("the mailbox got %d messages of %d", len(found), expected)
	}
	if !strings.HasSuffix(found["one"], "This is one.\r\n.\r\n") {
		t.Errorf("a line with a dot became %q", found["one"])
	}
	for name, p := range map[string]*peer{"behind": behind, "chunked": chunked} {
		got := p.deliveries()
		if len(got) != expected || p.bare.Load() > 0 {
			t.Errorf("%s got %d messages of %d, with %d bare CR or LF", name, len(got), expected, p.bare.Load())
		}
		for _, d := range got {
			if strings.Contains(d.data, "Subject: inner") {
				t.Errorf("%s got %q", name, d.data)
			}
		}
	}
}

// falseEnds returns the sequences that must not end a message.
func falseEnds(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../internal/smtpd/testdata/smuggling-basic.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Sequences []string }
	if err := json.Unmarshal(b, &file); err != nil || len(file.Sequences) < 8 {
		t.Fatalf("%d sequences, %v", len(file.Sequences), err)
	}
	return file.Sequences
}

// enter opens a session that may send to all@.
func (s *server) enter(t *testing.T, door string) *client {
	t.Helper()
	if door == "25" {
		return s.world(t)
	}
	return s.signIn(t, s.address())
}

// smuggle sends one message in two pieces, and returns the reply to it, which
// must be the last but for that to QUIT.
func (c *client) smuggle(verb, first, second string) string {
	c.t.Helper()
	c.say("MAIL FROM:<anna@smuggle.test>", "250")
	c.say("RCPT TO:<all@smuggle.test>", "250")
	end := ".\r\n"
	if verb == "DATA" {
		c.say("DATA", "354")
	} else {
		first = fmt.Sprintf("BDAT %d LAST\r\n%s", len(first)+len(second), first)
		end = ""
	}
	c.send(first)
	c.send(second + end + "QUIT\r\n")
	last := c.expect("")
	if bye, err := c.reply(); err == nil {
		if !strings.HasPrefix(bye, "221") {
			c.t.Errorf("after %q it says %q", last, bye)
		}
		c.closed()
	}
	return last
}
