package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/arc"
	"gatepost/internal/authres"
)

// sealed returns a message as a forwarder passes it on that found DMARC to
// pass.
func sealed(t *testing.T, forwarder, author addr.Domain, content string) (sealed, record string) {
	t.Helper()
	key, record := owner(t, forwarder)
	said := authres.Results{ID: string(forwarder), Results: []authres.Result{{
		Method: "dmarc", Value: "pass", Props: []authres.Prop{{Type: "header", Name: "from", Value: string(author)}},
	}}}
	header, body, _ := strings.Cut(content, "\r\n\r\n")
	s, err := arc.NewSealer([]byte(header+"\r\n"), key, arc.Result{}, said, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte(body))
	set, err := s.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return string(set) + content, record
}

// What the operator chose for a sender's domain, and whom they trust, goes
// before what the domain asks for.
func TestOperatorsChoose(t *testing.T) {
	t.Parallel()
	forwarded, record := sealed(t, "lists.test", "reject.test", letter("x@reject.test", "forwarded"))
	stranger, other := sealed(t, "other.test", "reject.test", letter("x@reject.test", "by a stranger"))
	n := newNames(t, records+record+other)
	s := start(t, "choices.test", n.config()+`
[trusted]
forwarders = ["lists.test"]
[[sender]]
domain = "calm.test"
failure = "reject"
[[sender]]
domain = "news.calm.test"
failure = "junk"
[[sender]]
domain = "wary.test"
failure = "accept"
`)
	for _, c := range []struct{ subject, content, want string }{
		{"forwarded", forwarded, "INBOX"},
		{"by a stranger", stranger, "Junk"},
		{"refused", letter("x@calm.test", "refused"), "550 5.7.26"},
		{"below", letter("x@eu.news.calm.test", "below"), "Junk"},
		{"accepted", letter("x@wary.test", "accepted"), "INBOX"},
		{"below ours", letter("it@accounts.choices.test", "below ours"), "550 5.7.26"},
	} {
		t.Run(c.subject, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			reply, err := s.world(t).transact("<x@good.test>", []string{"<" + s.address() + ">"}, c.content)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(c.want, "5") && strings.HasPrefix(reply, "250") {
				reply, _ = s.folder(c.subject)
			}
			if !strings.HasPrefix(reply, c.want) {
				t.Errorf("%s, want %s", reply, c.want)
			}
		})
	}
}

// A choice for everybody is for domains without one of their own and never for
// ours; who is accepted in any case does not wait for a DNS that is silent.
func TestOperatorsChooseForEverybody(t *testing.T) {
	t.Parallel()
	n := newNames(t, records)
	s := start(t, "everybody.test", n.config()+`
[[sender]]
domain = "*"
failure = "junk"
[[sender]]
domain = "broken.test"
failure = "accept"
`)
	for from, want := range map[string]string{
		"reject.test": "Junk", "calm.test": "Junk", "open.test": "Junk", "good.test": "INBOX", "broken.test": "INBOX", "everybody.test": "550 5.7.26",
	} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			reply, err := s.world(t).transact("<x@good.test>", []string{"<" + s.address() + ">"}, letter("x@"+from, "by "+from))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(reply, "250") {
				reply, _ = s.folder("by " + from)
			}
			if !strings.HasPrefix(reply, want) {
				t.Errorf("%s, want %s", reply, want)
			}
		})
	}
}

// A stranger is told of a failure only if SPF shows that it is no forged one.
func TestBouncesToProvenSenders(t *testing.T) {
	t.Parallel()
	n := newNames(t, records+"nomail.test. MX 0 .\n")
	s := start(t, "bounces.test", n.config()+"[[route]]\ndomain = \"good.test\"\nvia = \"127.0.0.1:1\"\n") // where it waits
	run(t, "", binary, "alias", "add", "far@bounces.test", "x@nomail.test", "--config", s.config)
	for from, bounced := range map[string]bool{"x@good.test": true, "x@open.test": false} {
		s.world(t).mail("<"+from+">", []string{"<far@bounces.test>"}, letter(from, "far"))
		await(t, func() string {
			list := run(t, "", binary, "queue", "list", "--json", "--config", s.config)
			failed := run(t, "", binary, "queue", "list", "--failed", "--json", "--config", s.config)
			if bounced != strings.Contains(list, `"`+from+`"`) || bounced == strings.Contains(failed, `"`+from+`"`) {
				return fmt.Sprintf("%s: %s\n%s\n%s", from, list, failed, s.log)
			}
			return ""
		})
	}
}
