package test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

// One message to two other domains and to an alias of ours arrives at each
// exactly once, although one of the domains puts it off at first.
func TestManyDestinations(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	prompt, hesitant := newPeer(t, nil), newPeer(t, func(command string) string {
		if strings.HasPrefix(command, "RCPT") && asked.Add(1) == 1 {
			return "450 4.2.0 greylisted, come back later"
		}
		return ""
	})
	s := start(t, "many.test", prompt.route("prompt.test")+hesitant.route("hesitant.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n")
	s.account("ben@many.test")
	s.gatepost("alias", "add", "crew@many.test", "ben@many.test")

	s.signIn(t, s.address()).mail("<anna@many.test>",
		[]string{"<x@prompt.test>", "<y@hesitant.test>", "<crew@many.test>"}, letter(s.address(), "three ways"))
	s.arrives("ben@many.test", "three ways")
	prompt.gets(t, 1)
	await(t, func() string {
		list := s.queue()
		if len(list) == 1 && len(list[0].Recipients) == 1 {
			r := list[0].Recipients[0]
			if r.To == "y@hesitant.test" && r.Status == "deferred" && r.Attempts == 1 &&
				strings.Contains(r.Reason, "greylisted, come back later") && strings.Contains(r.Reason, "tried again at") {
				return ""
			}
		}
		return fmt.Sprintf("not put off: %+v", list)
	})
	if out := s.gatepost("queue", "retry", "hesitant.test"); out != "Trying again: 1 message.\n" {
		t.Errorf("retry: %s", out)
	}
	s.settles()
	for who, got := range map[string][]delivery{"x@prompt.test": prompt.deliveries(), "y@hesitant.test": hesitant.deliveries()} {
		if len(got) != 1 || strings.Join(got[0].to, " ") != "<"+who+">" || !strings.HasSuffix(got[0].data, "\r\n\r\nThis is three ways.\r\n") {
			t.Errorf("%s got %q", who, got)
		}
	}
	if list := s.inbox("ben@many.test"); len(list) != 1 {
		t.Errorf("the alias got %+v", list)
	}
	if list := s.inbox(s.address()); len(list) != 0 {
		t.Errorf("the sender got %+v", list)
	}
}

// What fails for good comes back to its sender exactly once, in a report that
// machines and people can read; who did not refuse has the message.
func TestBounce(t *testing.T) {
	t.Parallel()
	peers := newPeer(t, func(command string) string {
		switch {
		case strings.HasPrefix(command, "RCPT TO:<nobody@"):
			return "550 5.1.1 nobody lives here"
		case strings.HasPrefix(command, "RCPT TO:<old@"):
			return "550 no code and no hope"
		}
		return ""
	})
	picky := newPeer(t, func(command string) string {
		if command == "." {
			return "554 5.7.1 not with such words"
		}
		return ""
	})
	n := newNames(t, "nomail.test. MX 0 .\nlost.test. MX 10 nowhere.test.\n")
	s := start(t, "bounce.test", peers.route("peers.test")+picky.route("picky.test")+n.config())
	for _, c := range []struct {
		name, to, status, human string
		remote                  bool // another server said so
	}{
		{"refused at RCPT", "nobody@peers.test", "5.1.1", "nobody lives here", true},
		{"refused without a code", "old@peers.test", "5.0.0", "no code and no hope", true},
		{"refused at the end", "x@picky.test", "5.7.1", "not with such words", true},
		{"null MX", "x@nomail.test", "5.1.10", "does not take mail", false},
		{"no such domain", "x@missing.test", "5.1.2", "does not exist", false},
		{"no such host", "x@lost.test", "5.4.4", "nowhere.test", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, account := s.in(t), strings.ReplaceAll(c.name, " ", "-")+"@bounce.test"
			s.account(account)
			s.signIn(t, account).mail("<"+account+"> ENVID=QQ314", []string{
				"<" + c.to + "> ORCPT=rfc822;first+2B@" + c.to[strings.Index(c.to, "@")+1:], "<friend@peers.test>",
			}, letter(account, c.name))

			r := readReport(t, s.arrives(account, "Your message could not be delivered"))
			if len(r.Status) != 2 {
				t.Fatalf("it tells of others: %+v", r.Status)
			}
			message, recipient := r.Status[0], r.Status[1]
			if message["Reporting-MTA"] != "dns; mx.bounce.test" || message["Original-Envelope-Id"] != "QQ314" || message["Arrival-Date"] == "" {
				t.Errorf("of the message it says %+v", message)
			}
			if recipient["Action"] != "failed" || recipient["Status"] != c.status || recipient["Final-Recipient"] != "rfc822; "+c.to ||
				!strings.HasPrefix(recipient["Original-Recipient"], "rfc822; first+@") {
				t.Errorf("of the recipient it says %+v", recipient)
			}
			if smtp := strings.HasPrefix(recipient["Diagnostic-Code"], "smtp; "); smtp != c.remote || (recipient["Remote-MTA"] != "") != c.remote {
				t.Errorf("who refused? %+v", recipient)
			}
			if !strings.Contains(r.Human, c.to) || !strings.Contains(r.Human, c.human) {
				t.Errorf("people read:\n%s", r.Human)
			}
			if r.Parts[2] != "text/rfc822-headers" || !strings.Contains(r.Original, "Subject: "+c.name) || strings.Contains(r.Original, "This is") {
				t.Errorf("the original in it, as %s:\n%s", r.Parts[2], r.Original)
			}
			s.settles()
			if list := s.inbox(account); len(list) != 1 {
				t.Errorf("the sender has %+v", list)
			}
		})
	}
	t.Cleanup(func() {
		if got := peers.deliveries(); len(got) != 6 {
			t.Errorf("friend got %d of 6 messages", len(got))
		}
	})
}

// A sender that nobody has proven gets no report: it would hit whoever was
// forged. The failure is kept for the operator to see.
func TestNoBackscatter(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(command string) string {
		if strings.HasPrefix(command, "RCPT") {
			return "550 5.1.1 moved away"
		}
		return ""
	})
	victim := newPeer(t, nil)
	s := start(t, "backscatter.test", p.route("away.test")+victim.route("victim.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n")
	s.gatepost("alias", "add", "away@backscatter.test", "x@away.test")
	id := s.world(t).mail("<forged@victim.test>", []string{"<away@backscatter.test>"}, letter("forged@victim.test", "lies"))
	await(t, func() string {
		list := s.queue("--failed")
		if len(list) == 1 && list[0].ID == id && strings.Contains(list[0].Recipients[0].Reason, "moved away") &&
			strings.Contains(list[0].Recipients[0].Reason, "sender cannot be told") {
			return ""
		}
		return fmt.Sprintf("not kept: %+v", list)
	})
	if list := s.queue(); len(list) != 0 {
		t.Errorf("still on its way: %+v", list)
	}
	if got := victim.deliveries(); len(got) != 0 {
		t.Errorf("the victim got %q", got)
	}
}

// Who asks to be told of success is told by the last server that can: by the
// next one if it knows how (RFC 3461), else by us.
func TestSuccessReports(t *testing.T) {
	t.Parallel()
	plain, able := newPeer(t, nil), newPeer(t, nil, "DSN")
	s := start(t, "success.test", plain.route("plain.test")+able.route("able.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n")
	for _, c := range []struct{ name, to, subject, action, status string }{
		{"hop without DSN", "x@plain.test", "Your message has been handed on", "relayed", "2.0.0"},
		{"our own mailbox", "anna@success.test", "Your message has been delivered", "delivered", "2.0.0"},
		{"hop with DSN", "x@able.test", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, account := s.in(t), strings.ReplaceAll(c.name, " ", "-")+"@success.test"
			s.account(account)
			s.signIn(t, account).mail("<"+account+"> RET=HDRS ENVID=QQ1", []string{"<" + c.to + "> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;" + c.to},
				letter(account, c.name))
			if c.action == "" {
				d := able.gets(t, 1)[0]
				if d.from != "<"+account+"> RET=HDRS ENVID=QQ1" || d.to[0] != "<x@able.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@able.test" {
					t.Errorf("the next hop was asked %+v", d)
				}
				s.settles()
				if list := s.inbox(account); len(list) != 0 {
					t.Errorf("and we reported %+v", list)
				}
				return
			}
			r := readReport(t, s.arrives(account, c.subject))
			if got := r.Status[1]; got["Action"] != c.action || got["Status"] != c.status || got["Final-Recipient"] != "rfc822; "+c.to {
				t.Errorf("%+v", got)
			}
		})
	}
}
