package test

import (
	"encoding/json"
	"fmt"
	"strings"
)

// hop is what gatepost proof tells of one.
type hop struct {
	ID, Direction, Host, Address, TLS, Policy, Met, Sentence string
	Verified                                                 bool
	Recipients                                               []string
}

// proof waits until it is known how a message went on, and returns how it came
// and how it went. name is our id or its Message-ID.
func (s *server) proof(name, host string) (in, out hop) {
	s.t.Helper()
	await(s.t, func() string {
		var p struct{ Hops []hop }
		text, err := try("", binary, "proof", name, "--json", "--config", s.config)
		if err == nil {
			err = json.Unmarshal([]byte(text), &p)
		}
		if err != nil || len(p.Hops) != 2 || p.Hops[1].Host != host {
			return fmt.Sprintf("proof %s: %v\n%s", name, err, text) // the host has it, and we do not know yet
		}
		in, out = p.Hops[0], p.Hops[1]
		return ""
	})
	if in.Direction != "in" || in.Host != s.address() || in.TLS != "TLS 1.3" || !strings.Contains(in.Sentence, ", signed in") {
		s.t.Errorf("it came so: %+v", in)
	}
	if out.ID != in.ID || out.Direction != "out" || len(out.Recipients) != 1 {
		s.t.Errorf("it went so: %+v", out)
	}
	return in, out
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
