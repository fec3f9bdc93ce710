package test

import (
	"fmt"
	"strings"
)

// hop is what gatepost proof tells of one.
type hop struct {
	ID, Direction, Host, Address, TLS, Sentence string
	Recipients                                  []string
}

// proves checks what is told of a message that reached a next hop, under our
// id and under its Message-ID.
func (s *server) proves(id, got string, to nextHop) {
	s.t.Helper()
	_, rest, _ := strings.Cut(got, "\nMessage-ID: ")
	messageID, _, _ := strings.Cut(rest, "\n")
	for _, name := range []string{id, messageID, strings.Trim(messageID, "<>")} {
		await(s.t, func() string {
			var p struct{ Hops []hop }
			out, err := try("", binary, "proof", name, "--config", s.config)
			if err != nil || !strings.Contains(out, to.host()) {
				return fmt.Sprintf("proof %s: %v\n%s", name, err, out) // the host has it, and we do not know yet
			}
			s.json(&p, "proof", name)
			if len(p.Hops) != 2 {
				return fmt.Sprintf("%d hops: %+v", len(p.Hops), p)
			}
			in, away := p.Hops[0], p.Hops[1]
			if in.ID != id || in.Direction != "in" || in.Host != s.address() || in.TLS != "TLS 1.3" || !strings.HasSuffix(in.Sentence, ", signed in.") {
				s.t.Errorf("it came so: %+v", in)
			}
			if away.ID != id || away.Direction != "out" || away.Host != to.host() || (away.TLS == "") != (to.wants == "clear") ||
				len(away.Recipients) != 1 || !strings.Contains(out, away.Sentence) {
				s.t.Errorf("it went so: %+v\n%s", away, out)
			}
			return ""
		})
	}
}

// bounces waits until the sender is told that a message failed, and why.
func (s *server) bounces(id, to, why string) {
	s.t.Helper()
	await(s.t, func() string {
		for _, m := range s.inbox(s.address()) {
			text := s.content(s.address(), m.ID)
			if strings.Contains(text, "\r\n\tid "+id) && strings.Contains(text, "Action: failed") {
				if !strings.Contains(text, "rfc822; "+to) || !strings.Contains(text, why) {
					s.t.Errorf("the bounce says:\n%s", text)
				}
				return ""
			}
		}
		return "nobody was told that the message to " + to + " failed\n" + s.log.String()
	})
}
