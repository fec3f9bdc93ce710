package test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/dkim"
)

// owner is the key of a domain in the DNS of a case.
func owner(t *testing.T, d addr.Domain) (key dkim.SigningKey, record string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return dkim.SigningKey{Domain: d, Selector: "s", Signer: private},
		fmt.Sprintf("s._domainkey.%s. TXT \"v=DKIM1; k=ed25519; p=%s\"\n", d, base64.StdEncoding.EncodeToString(public))
}

// signed returns a message with a signature.
func signed(t *testing.T, key dkim.SigningKey, content string) string {
	t.Helper()
	header, body, _ := strings.Cut(content, "\r\n\r\n")
	s, err := dkim.NewSigner([]byte(header+"\r\n"), []dkim.SigningKey{key}, time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte(body))
	field, err := s.Sign()
	if err != nil {
		t.Fatal(err)
	}
	return string(field) + content
}

// records are of domains whose mail comes from here (good.test), or from
// nowhere, with different wishes. Nobody answers for broken.test.
const records = `good.test. TXT "v=spf1 ip4:127.0.0.0/8 -all"
_dmarc.good.test. TXT "v=DMARC1; p=reject"
reject.test. TXT "v=spf1 -all"
_dmarc.reject.test. TXT "v=DMARC1; p=reject"
wary.test. TXT "v=spf1 -all"
_dmarc.wary.test. TXT "v=DMARC1; p=quarantine"
calm.test. TXT "v=spf1 -all"
_dmarc.calm.test. TXT "v=DMARC1; p=none"
open.test. TXT "hello"
broken.test. NS ns.broken.test.
ns.broken.test. A 127.99.99.99
`

// folder returns the folder that a message with the subject was filed into,
// and the message.
func (s *server) folder(subject string) (folder, content string) {
	s.t.Helper()
	await(s.t, func() string {
		for _, folder = range []string{"INBOX", "Junk"} {
			var list []mail
			s.json(&list, "mailbox", "list", s.address(), folder)
			i := slices.IndexFunc(list, func(m mail) bool { return m.Subject == subject })
			if i >= 0 {
				content = s.content(s.address(), list[i].ID)
				return ""
			}
		}
		return "no message " + subject + "\n" + s.log.String()
	})
	return folder, content
}

// What becomes of mail in somebody's name, by who has sent it and what the
// domain asks for.
func TestNobodySpeaksInAnothersName(t *testing.T) {
	t.Parallel()
	key, record := owner(t, "reject.test")
	n := newNames(t, records+record)
	s := start(t, "home.test", n.config())
	for _, c := range []struct {
		subject, mailFrom, header string
		sign                      bool
		want                      string // a folder or the beginning of a reply
		says                      string // in our Authentication-Results
	}{
		{"spf", "x@good.test", "From: x@good.test", false, "INBOX", "spf=pass"},
		{"spf fails", "x@calm.test", "From: x@calm.test", false, "INBOX", "dmarc=fail"},
		{"no policy", "x@open.test", "From: x@open.test", false, "INBOX", "dmarc=none"},
		{"signed", "x@calm.test", "From: x@reject.test", true, "INBOX", "dkim=pass"},
		{"forged", "x@good.test", "From: x@reject.test", false, "550 5.7.26", ""},
		{"forged through a list", "x@good.test", "From: x@reject.test\r\nList-Id: <l.good.test>", false, "Junk", "dmarc=fail"},
		{"to be wary of", "x@good.test", "From: x@wary.test", false, "Junk", "dmarc=fail"},
		{"forged as ours", "x@good.test", "From: anna@home.test", false, "550 5.7.26", ""},
		{"shows ours", "x@good.test", "From: \"anna@home.test\" <x@good.test>", false, "Junk", "dmarc=pass"},
		{"shows another", "x@open.test", "From: \"ceo@reject.test\" <x@open.test>", false, "Junk", "dmarc=none"},
		{"two authors", "x@good.test", "From: x@good.test\r\nFrom: ceo@reject.test", false, "550 5.7.1", ""},
		{"a group", "x@good.test", "From: friends:;", false, "Junk", "dmarc=permerror"},
		{"nobody answers", "x@good.test", "From: x@broken.test", false, "451 4.4.3", ""},
		{"results made up", "x@good.test", "Authentication-Results: mx.home.test; dmarc=made-up\r\nX-Gatepost-Junk: no\r\nFrom: x@good.test", false, "INBOX", "dmarc=pass"},
	} {
		t.Run(c.subject, func(t *testing.T) {
			t.Parallel()
			s := s.in(t)
			content := c.header + "\r\nSubject: " + c.subject + "\r\n\r\nHello.\r\n"
			if c.sign {
				content = signed(t, key, content)
			}
			reply, err := s.world(t).transact("<"+c.mailFrom+">", []string{"<" + s.address() + ">"}, content)
			if err != nil {
				t.Fatal(err)
			}
			if c.says == "" {
				if !strings.HasPrefix(reply, c.want) {
					t.Errorf("%s, want %s", reply, c.want)
				}
				return
			}
			if !strings.HasPrefix(reply, "250") {
				t.Fatalf("%s, want it in %s", reply, c.want)
			}
			folder, got := s.folder(c.subject)
			if folder != c.want || !strings.Contains(got, "Authentication-Results: mx.home.test") || !strings.Contains(got, c.says) {
				t.Errorf("in %s, want %s and %s:\n%s", folder, c.want, c.says, got)
			}
			if (folder == "Junk") != strings.Contains(got, "X-Gatepost-Junk: ") || strings.Contains(got, "made-up") {
				t.Errorf("%s", got)
			}
		})
	}
}

// The mark of junk is in the envelope, which a power cut does not lose.
func TestJunkSurvives(t *testing.T) {
	t.Parallel()
	n := newNames(t, records)
	s := start(t, "home.test", n.config())
	s.world(t).mail("<x@good.test>", []string{"<" + s.address() + ">"}, letter("x@wary.test", "wary"))
	s.kill()
	s.serve()
	if folder, got := s.folder("wary"); folder != "Junk" {
		t.Errorf("in %s:\n%s", folder, got)
	}
}

// Users and [relay] clients do not wait for the DNS, and a resolver that is
// down lets mail pass.
func TestResolverDown(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", newIP()+":53") // and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var asked atomic.Int64
	go func() {
		for packet := make([]byte, 512); ; {
			n, _, err := silent.ReadFrom(packet)
			if err != nil {
				return
			}
			// The server looks at its own keys, beside all sessions.
			if own := packet[:n]; !bytes.Contains(own, []byte("_domainkey")) && !bytes.Contains(own, []byte("_tcp")) {
				asked.Add(1)
			}
		}
	}()
	config := fmt.Sprintf("[dns]\nresolvers = [%q]\n", silent.LocalAddr())
	s := start(t, "home.test", config+"[relay]\nnetworks = [\"127.0.0.1/32\"]\n")
	s.world(t).mail("<x@reject.test>", []string{"<" + s.address() + ">"}, letter("x@reject.test", "relay"))
	s.signIn(t, s.address()).mail("<"+s.address()+">", []string{"<" + s.address() + ">"}, letter(s.address(), "user"))
	if n := asked.Load(); n != 0 {
		t.Errorf("the DNS was asked %d times", n)
	}
	if got := s.arrives(s.address(), "relay"); strings.Contains(got, "Authentication-Results") {
		t.Errorf("%s", got)
	}
	down := start(t, "down.test", "[dns]\nresolvers = [\"127.0.0.1:1\"]\n")
	down.world(t).mail("<x@reject.test>", []string{"<" + down.address() + ">"}, letter("x@reject.test", "unproved"))
	if got := down.arrives(down.address(), "unproved"); !strings.Contains(got, "dmarc=temperror") || strings.Contains(got, "127.0.0.1:1") {
		t.Errorf("%s", got)
	}
}

// message check says of a file what the session would, without a
// configuration and whatever the verdict with exit code 0.
func TestMessageCheck(t *testing.T) {
	t.Parallel()
	key, record := owner(t, "reject.test")
	n := newNames(t, records+record)
	content := signed(t, key, letter("x@reject.test", "checked"))
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "message")
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(content, "\r\n", "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	type answer struct {
		SPF        struct{ Result, Domain string }
		DKIM       []struct{ Result, Domain, Selector, Reason string }
		DMARC      struct{ Result, Policy, Domain string }
		ARC        string
		FromDomain string `json:"from_domain"`
		Verdict    string
		Reasons    []string
	}
	for _, c := range []struct {
		name, content, from string
		want                string
	}{
		{"signed", content, "x@good.test", "pass good.test [pass reject.test s] pass reject reject.test none reject.test accept"},
		{"changed", strings.Replace(content, "This is", "This was", 1), "x@wary.test", "fail wary.test [fail reject.test s] fail reject reject.test none reject.test junk"},
		{"forged", letter("x@reject.test", "a"), "x@good.test", "pass good.test [] fail reject reject.test none reject.test reject"},
		{"wary", letter("x@wary.test", "a"), "x@wary.test", "fail wary.test [] fail quarantine wary.test none wary.test junk"},
		{"broken", letter("x@broken.test", "a"), "x@good.test", "pass good.test [] temperror none broken.test none broken.test defer"},
		{"none", letter("x@open.test", "a"), "x@open.test", "none open.test [] none none open.test none open.test accept"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"message", "check", file(c.content), "--ip", "127.0.0.1", "--helo", "mx.good.test", "--from", c.from,
				"--resolver", n.resolver + ":53", "--time", time.Now().Add(time.Minute).Format(time.RFC3339)}
			var a answer
			if err := json.Unmarshal([]byte(run(t, "", binary, append(args, "--json")...)), &a); err != nil {
				t.Fatal(err)
			}
			signatures := []string{}
			for _, s := range a.DKIM {
				signatures = append(signatures, s.Result+" "+s.Domain+" "+s.Selector)
				if s.Reason == "" {
					t.Errorf("no reason in %+v", a)
				}
			}
			got := fmt.Sprint(a.SPF.Result, " ", a.SPF.Domain, " ", signatures, " ",
				strings.Join([]string{a.DMARC.Result, a.DMARC.Policy, a.DMARC.Domain, a.ARC, a.FromDomain, a.Verdict}, " "))
			if got != c.want || len(a.Reasons) == 0 {
				t.Errorf("got  %s\nwant %s\n%+v", got, c.want, a)
			}
			if text := run(t, "", binary, args...); !strings.HasPrefix(text, "It would be ") || !strings.Contains(text, "\nSPF ") {
				t.Errorf("%s", text)
			}
		})
	}
}
