package verdict

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/arc"
	"gatepost/internal/authres"
	"gatepost/internal/dkim"
	"gatepost/internal/resolve"
)

var update = flag.Bool("update", false, "write docs/spoofing.md anew")

const spoofingFile = "../../docs/spoofing.md"

// spoofingZone is the DNS of the attacks: bank.example is whom they want to
// be, evil.example is theirs, and everything about it is in order.
const spoofingZone = `
bank.example. TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.bank.example. TXT "v=DMARC1; p=reject"
evil.example. TXT "v=spf1 ip4:192.0.2.66 -all"
_dmarc.evil.example. TXT "v=DMARC1; p=reject"
bank.example.evil.example. TXT "v=spf1 ip4:192.0.2.66 -all"
`

// attack is one attempt to be shown as admin@bank.example, sent from the
// address 192.0.2.66. Unless it says otherwise the greeting and the
// reverse-path are evil.example's, for which SPF passes.
type attack struct {
	name   string
	helo   string
	from   string // reverse-path; "<>" is the null one
	header string
	body   string // what is sent; empty: what was signed
	sign   func(t *testing.T, header string) string
	want   Action
	reason string // part of the first reason
	shows  bool   // some reader may show bank.example, unmarked: nothing can be known of it
}

// keys of the two domains. What the attacker has of the bank's are messages
// that it signed.
var (
	bankKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	evilKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
)

func publish(f *resolve.Fake, k ed25519.PrivateKey, name string) {
	f.Add(name + `. TXT "v=DKIM1; k=ed25519; p=` + base64.StdEncoding.EncodeToString(k.Public().(ed25519.PublicKey)) + `"`)
}

// by signs as our own signer does.
func by(k ed25519.PrivateKey, d addr.Domain) func(*testing.T, string) string {
	return func(t *testing.T, header string) string {
		return sign(t, dkim.SigningKey{Domain: d, Selector: "s", Signer: k}, header)
	}
}

// raw signs the first From field and the beginning of the body, under tags
// that no signer of ours writes.
func raw(k ed25519.PrivateKey, tags string, length int) func(*testing.T, string) string {
	return func(t *testing.T, header string) string {
		h := sha256.Sum256([]byte(body[:length]))
		value := "v=1; a=ed25519-sha256; c=relaxed/simple; h=from; " + tags + "; bh=" + base64.StdEncoding.EncodeToString(h[:]) + "; b="
		line, _, _ := strings.Cut(header, "\r\n")
		_, from, _ := strings.Cut(line, ":")
		digest := sha256.Sum256([]byte("from:" + strings.TrimSpace(from) + "\r\ndkim-signature:" + value))
		return "DKIM-Signature: " + value + base64.StdEncoding.EncodeToString(ed25519.Sign(k, digest[:])) + "\r\n" + header
	}
}

// chain is an ARC set by the attacker that says what it likes.
func chain(t *testing.T, header string) string {
	said := authres.Results{ID: "evil.example", Results: []authres.Result{{
		Method: "dmarc", Value: "pass", Props: []authres.Prop{{Type: "header", Name: "from", Value: "bank.example"}},
	}}}
	s, err := arc.NewSealer([]byte(header), dkim.SigningKey{Domain: "evil.example", Selector: "s", Signer: evilKey}, arc.Result{}, said, now)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte(body))
	set, err := s.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return string(set) + header
}

const (
	bank = "From: admin@bank.example\r\n"
	evil = "From: x@evil.example\r\n"
)

var attacks = []struct {
	title string
	list  []attack
}{
	{"The envelope", []attack{
		{name: "nothing but the name", header: bank, want: Reject, reason: "no signature of that domain"},
		{name: "its reverse-path", from: "admin@bank.example", header: bank, want: Reject, reason: "no signature"},
		{name: "its name in the greeting, null reverse-path", helo: "bank.example", from: "<>", header: bank, want: Reject, reason: "no signature"},
		{name: "a greeting of one's own, null reverse-path: SPF passes for the greeting", helo: "evil.example", from: "<>", header: bank, want: Reject, reason: "no signature"},
		{name: "a greeting that is no name, null reverse-path", helo: "bank.example@evil.example", from: "<>", header: bank, want: Reject, reason: "no signature"},
		{name: "a reverse-path below it that does not exist", from: "x@nosuch.bank.example", header: bank, want: Reject, reason: "no signature"},
		{name: "its address as a quoted local part of the reverse-path", from: `"admin@bank.example"@evil.example`, header: bank, want: Reject, reason: "no signature"},
		{name: "a name below it that does not exist", header: "From: admin@nosuch.bank.example\r\n", want: Reject, reason: "no signature"},
		{name: "its name in capitals", header: "From: admin@BANK.EXAMPLE\r\n", want: Reject, reason: "no signature"},
		{name: "its name with a dot at the end", header: "From: admin@bank.example.\r\n", want: Junk, reason: "no author"},
		{name: "its name in another's", header: "From: admin@bank.example.evil.example\r\n", from: "x@bank.example.evil.example", want: Accept, reason: "evil.example", shows: true},
	}},
	{"Several fields, or none", []attack{
		{name: "two From, the bank's first", header: bank + evil, want: Reject, reason: "different authors"},
		{name: "two From, the bank's last", header: evil + bank, want: Reject, reason: "different authors"},
		{name: "two From in other letters", header: "FROM: x@evil.example\r\nfrom: admin@bank.example\r\n", want: Reject, reason: "different authors"},
		{name: "three From", header: evil + bank + evil, want: Reject, reason: "different authors"},
		{name: "a space before the colon of a second one", header: evil + "From : admin@bank.example\r\n", want: Reject, reason: "different authors"},
		{name: "a space before the colon of the only one", header: "From : admin@bank.example\r\n", want: Junk, reason: "no author"},
		{name: "a tab before the colon", header: evil + "From\t: admin@bank.example\r\n", want: Reject, reason: "different authors"},
		{name: "a space before the name", header: "Subject: s\r\n From: admin@bank.example\r\n" + evil, want: Accept, reason: "evil.example", shows: true},
		{name: "a first line that is a continuation", header: " From: admin@bank.example\r\n" + evil, want: Reject, reason: "different authors"},
		{name: "a name that is folded before its colon", header: evil + "From\r\n : admin@bank.example\r\n", want: Reject, reason: "different authors"},
		{name: "a NUL in the name", header: evil + "From\x00: admin@bank.example\r\n", want: Reject, reason: "different authors"},
		{name: "a NUL before the name", header: evil + "\x00From: admin@bank.example\r\n", want: Reject, reason: "different authors"},
		{name: "an octet above 127 in the name", header: evil + "From\xa0: admin@bank.example\r\n", want: Reject, reason: "different authors"},
		{name: "a line that is no field before it", header: "xxx\r\n" + bank, want: Reject, reason: "different authors"},
		{name: "a bare CR before a second one", header: "Subject: s\rFrom: admin@bank.example\r\n" + evil, want: Reject, reason: "different authors"},
		{name: "a bare LF before a second one", header: "Subject: s\nFrom: admin@bank.example\r\n" + evil, want: Reject, reason: "different authors"},
		{name: "no From but Sender", header: "Sender: admin@bank.example\r\n", want: Junk, reason: "no From"},
		{name: "no From but Resent-From", header: "Resent-From: admin@bank.example\r\n", want: Junk, reason: "no From"},
		{name: "an empty From, and Sender", header: "From:\r\nSender: admin@bank.example\r\n", want: Junk, reason: "no author"},
		{name: "Sender beside From", header: evil + "Sender: admin@bank.example\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "results that are made up", header: "Authentication-Results: mx.ours.example; dmarc=pass header.from=bank.example\r\n" + bank, want: Reject, reason: "no signature"},
	}},
	{"Lists, groups and comments", []attack{
		{name: "two authors", header: "From: admin@bank.example, x@evil.example\r\n", want: Junk, reason: "several domains"},
		{name: "two authors, turned around", header: "From: x@evil.example, admin@bank.example\r\n", want: Junk, reason: "several domains"},
		{name: "an empty place in the list", header: "From: ,admin@bank.example\r\n", want: Junk, reason: "no author"},
		{name: "a semicolon for a comma", header: "From: admin@bank.example; x@evil.example\r\n", want: Junk, reason: "no author"},
		{name: "a group named as the bank", header: "From: \"admin@bank.example\": x@evil.example;\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a group with an address for its name", header: "From: admin@bank.example: x@evil.example;\r\n", want: Junk, reason: "no author"},
		{name: "an empty group", header: "From: \"admin@bank.example\":;\r\n", want: Junk, reason: "no address"},
		{name: "a comment behind", header: "From: x@evil.example (admin@bank.example)\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a comment before", header: "From: (admin@bank.example) x@evil.example\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "comments within", header: "From: <admin(x)@(y)bank.example(z)>\r\n", want: Reject, reason: "no signature"},
		{name: "a comment for the bank's domain", header: "From: <admin@evil.example(@bank.example)>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a comment that does not end", header: "From: x@evil.example (admin@bank.example\r\n", want: Junk, reason: "no author"},
		{name: "an angle in a comment", header: "From: <x@evil.example> (<admin@bank.example>)\r\n", want: Accept, reason: "evil.example", shows: true},
	}},
	{"Names that hold addresses", []attack{
		{name: "a quoted name", header: "From: \"admin@bank.example\" <x@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a name in angles", header: "From: \"<admin@bank.example>\" <x@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a quote that is escaped", header: "From: \"admin@bank.example\\\" <\" <x@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a name without quotes", header: "From: admin@bank.example <x@evil.example>\r\n", want: Junk, reason: "no author"},
		{name: "two angles", header: "From: <admin@bank.example> <x@evil.example>\r\n", want: Junk, reason: "no author"},
		{name: "an address behind the angle", header: "From: <x@evil.example> admin@bank.example\r\n", want: Junk, reason: "no author"},
		{name: "an angle on a line of its own", header: "From: <admin@bank.example>\r\n <x@evil.example>\r\n", want: Junk, reason: "no author"},
		{name: "a name that fills the line before the fold", header: "From: \"admin@bank.example" + strings.Repeat(" ", 200) + "\"\r\n <x@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "an encoded name", header: "From: =?utf-8?q?admin=40bank.example?= <x@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "an encoded name in two words", header: "From: =?utf-8?b?YWRtaW5AYmFu?= =?utf-8?b?ay5leGFtcGxl?= <x@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a wide at sign", header: "From: admin\uff20bank.example <x@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a character without width", header: "From: \"admin@bank\u200b.exam\u2060ple\" <x@evil.example>\r\n", want: Accept, reason: "shows an address of bank.example", shows: true},
		{name: "a wide full stop", header: "From: \"admin@bank\u3002example\" <x@evil.example>\r\n", want: Accept, reason: "shows an address of bank.example", shows: true},
		{name: "turned around by a mark of direction", header: "From: \"\u202eelpmaxe.knab@nimda\" <x@evil.example>\r\n", want: Accept, reason: "shows an address of bank.example", shows: true},
		{name: "the name alone, without an at sign", header: "From: \"bank.example\" <x@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
	}},
	{"Addresses that readers take apart differently", []attack{
		{name: "a route", header: "From: <@bank.example:x@evil.example>\r\n", want: Junk, reason: "no author"},
		{name: "a route of two", header: "From: <@bank.example,@evil.example:admin@bank.example>\r\n", want: Junk, reason: "no author"},
		{name: "two at signs", header: "From: admin@bank.example@evil.example\r\n", want: Junk, reason: "no author"},
		{name: "two at signs, turned around", header: "From: <x@evil.example@bank.example>\r\n", want: Junk, reason: "no author"},
		{name: "its address as a quoted local part", header: "From: <\"admin@bank.example\"@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "its address as a quoted local part, an angle within", header: "From: \"<admin@bank.example>x\"@evil.example\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a percent sign", header: "From: <admin%bank.example@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "a bang path", header: "From: <bank.example!admin@evil.example>\r\n", want: Accept, reason: "evil.example", shows: true},
		{name: "an encoded word for the address", header: "From: <=?utf-8?q?admin=40bank.example=3e?=@evil.example>\r\n", want: Junk, reason: "no author"},
		{name: "an encoded word for all", header: "From: =?utf-8?b?YWRtaW5AYmFuay5leGFtcGxl?=\r\n", want: Junk, reason: "no author"},
		{name: "an encoded word that ends in a NUL", header: "From: =?utf-8?b?PGFkbWluQGJhbmsuZXhhbXBsZT4A?=@evil.example\r\n", want: Junk, reason: "no author"},
		{name: "a NUL in the address", header: "From: <admin@bank.example\x00@evil.example>\r\n", want: Junk, reason: "no author"},
		{name: "a NUL behind the bank", header: "From: <admin@bank.example\x00.evil.example>\r\n", want: Junk, reason: "no author"},
		{name: "a tab in the domain", header: "From: admin@bank.example\t.evil.example\r\n", want: Junk, reason: "no author"},
		{name: "a backslash in the domain", header: "From: <admin@bank.example\\.evil.example>\r\n", want: Junk, reason: "no author"},
		{name: "octets that are no UTF-8", header: "From: admin@bank.example\xff <x@evil.example>\r\n", want: Junk, reason: "no author"},
		{name: "an address literal", header: "From: admin@[192.0.2.66]\r\n", want: Junk, reason: "without a domain name"},
		{name: "letters that look alike", header: "From: admin@b\u0430nk.example\r\n", want: Accept, reason: "no DMARC policy", shows: true},
		{name: "wide letters, which are the same name", header: "From: admin@\uff42\uff41\uff4e\uff4b.example\r\n", want: Reject, reason: "no signature"},
	}},
	{"Signatures", []attack{
		{name: "one of one's own", header: bank, sign: by(evilKey, "evil.example"), want: Reject, reason: "no signature of that domain"},
		{name: "the bank's name under one's own key", header: bank, sign: by(evilKey, "bank.example"), want: Junk, reason: "broken on the way"},
		{name: "a name below one's own", header: bank, sign: by(evilKey, "bank.example.evil.example"), want: Reject, reason: "no signature of that domain"},
		{name: "i= of the bank", header: bank, sign: raw(evilKey, "d=evil.example; s=s; i=admin@bank.example", len(body)), want: Reject, reason: "no signature of that domain"},
		{name: "two d=", header: bank, sign: raw(evilKey, "d=evil.example; d=bank.example; s=s", len(body)), want: Reject, reason: "no signature of that domain"},
		{name: "d= that ends in a NUL", header: bank, sign: raw(evilKey, "d=bank.example\x00.evil.example; s=s", len(body)), want: Reject, reason: "no signature of that domain"},
		{name: "d= of the top", header: bank, sign: raw(evilKey, "d=example; s=s", len(body)), want: Reject, reason: "no signature of that domain"},
		{name: "d= with an escape", header: bank, sign: raw(evilKey, `d=bank.example\.evil.example; s=s`, len(body)), want: Reject, reason: "no signature of that domain"},
		{name: "s= that ends in a NUL, to move the key", header: bank, sign: raw(evilKey, "d=bank.example; s=s._domainkey.evil.example.\x00", len(body)), want: Reject, reason: "no signature of that domain"},
		{name: "s= with other characters, to move the key", header: bank, sign: raw(evilKey, "d=bank.example; s=s._domainkey.evil.example.#", len(body)), want: Junk, reason: "broken on the way"},
		{name: "s= with a mark of a comment", header: bank, sign: raw(evilKey, "d=bank.example; s=s._domainkey.evil.example.(", len(body)), want: Junk, reason: "broken on the way"},
		{name: "the bank's message with l=0 and another body", header: bank, sign: raw(bankKey, "d=bank.example; s=s; l=0", 0), want: Junk, reason: "broken on the way"},
		{name: "the bank's message with l= and more body", header: bank, body: body + "Pay here.\r\n", sign: raw(bankKey, "d=bank.example; s=s; l="+strconv.Itoa(len(body)), len(body)), want: Junk, reason: "broken on the way"},
		{name: "the bank's message with another body", header: bank, body: "Pay here.\r\n", sign: by(bankKey, "bank.example"), want: Junk, reason: "broken on the way"},
		{name: "the bank's message with a second From before", header: bank, sign: func(t *testing.T, h string) string { return evil + by(bankKey, "bank.example")(t, h) }, want: Reject, reason: "different authors"},
		{name: "the bank's message with a second From behind", header: bank, sign: func(t *testing.T, h string) string { return by(bankKey, "bank.example")(t, h) + evil }, want: Reject, reason: "different authors"},
		{name: "the bank's message with another author", header: bank, sign: func(t *testing.T, h string) string {
			return strings.Replace(by(bankKey, "bank.example")(t, h), "admin@", "boss@", 1)
		}, want: Junk, reason: "broken on the way"},
		{name: "a chain of ARC of one's own that vouches for the bank", header: bank, sign: chain, want: Junk, reason: "it was forwarded"},
		{name: "a mailing list of one's own", header: bank + "List-Id: <l.evil.example>\r\n", want: Junk, reason: "mailing list"},
	}},
}

func (a *attack) run(t *testing.T, c *Checker) *Verdict {
	t.Helper()
	header, content := a.header, a.body
	if a.sign != nil {
		header = a.sign(t, header)
	}
	if content == "" {
		content = body
	}
	client := Client{IP: netip.MustParseAddr("192.0.2.66"), Helo: "evil.example", From: addr.MustParse("x@evil.example")}
	if a.helo != "" {
		client.Helo = a.helo
	}
	switch a.from {
	case "":
	case "<>":
		client.From = addr.Address{}
	default:
		client.From = addr.MustParse(a.from)
	}
	k := c.Begin(client, []byte(header))
	k.Write([]byte(content))
	v, err := k.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// marked returns the domains that what we write marks as verified for the
// author.
func marked(t *testing.T, v *Verdict) []string {
	t.Helper()
	value := string(v.Facts.Results("mx.ours.example").Field())
	_, value, _ = strings.Cut(value, ":")
	rs, err := authres.Parse(strings.ReplaceAll(value, "\r\n", ""))
	if err != nil {
		t.Fatalf("%q: %v", value, err)
	}
	var list []string
	for _, r := range rs.Find("dmarc") {
		if r.Value == "pass" {
			list = append(list, r.Get("header", "from"))
		}
	}
	return list
}

// Nobody is shown as the bank with a mark that says so, and docs/spoofing.md
// is what the table says. Where nothing refuses or marks the message, some
// reader may show the bank's name; then the mark is the other's.
func TestSpoofing(t *testing.T) {
	t.Parallel()
	f := resolve.NewFake(spoofingZone)
	publish(f, bankKey, "s._domainkey.bank.example")
	publish(f, evilKey, "s._domainkey.evil.example")
	publish(f, evilKey, "s._domainkey.bank.example.evil.example")
	c, lenient := checker(f), checker(f)
	lenient.Choices = map[addr.Domain]Action{Everybody: Accept}
	// The signatures of the attacks are good but for what is wrong with them.
	genuine := attack{header: bank, sign: raw(bankKey, "d=bank.example; s=s", len(body))}
	if got := marked(t, genuine.run(t, c)); len(got) != 1 || got[0] != "bank.example" {
		t.Fatalf("the bank's own message is marked %q", got)
	}
	var doc strings.Builder
	doc.WriteString(spoofingText)
	for _, group := range attacks {
		fmt.Fprintf(&doc, "\n## %s\n\n| attempt | what is sent | verdict | marked as verified | why |\n|---|---|---|---|---|\n", group.title)
		for _, a := range group.list {
			v := a.run(t, c)
			marks := marked(t, v)
			if chosen := marked(t, a.run(t, lenient)); !slices.Equal(chosen, marks) {
				t.Errorf("%s: marked %q, and %q because the operator accepts it", a.name, marks, chosen)
			}
			for _, m := range marks {
				if m == "bank.example" || strings.HasSuffix(m, ".bank.example") {
					t.Errorf("%s: %s is marked as verified", a.name, m)
				}
			}
			if v.Action != a.want || !strings.Contains(strings.Join(v.Reasons, "; "), a.reason) {
				t.Errorf("%s: %v, %q; want %v, %q", a.name, v.Action, v.Reasons, a.want, a.reason)
			}
			if (v.Action == Accept) != a.shows {
				t.Errorf("%s: accepted, and it was not foreseen", a.name)
			}
			sent := a.header
			if a.sign != nil {
				sent = "(signed) " + sent
			}
			if a.helo != "" || a.from != "" {
				sent = fmt.Sprintf("HELO %s, MAIL FROM %s: %s", or(a.helo, "evil.example"), or(a.from, "x@evil.example"), sent)
			}
			fmt.Fprintf(&doc, "| %s | %s | %s | %s | %s |\n", a.name, cell(sent), v.Action, or(strings.Join(marks, ", "), "–"), cellText(strings.Join(v.Reasons, "; ")))
		}
	}
	if *update {
		if err := os.WriteFile(spoofingFile, []byte(doc.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(spoofingFile); err != nil || string(got) != doc.String() {
		t.Errorf("docs/spoofing.md is not what the table says (%v); run go test ./internal/verdict -run TestSpoofing -update", err)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// cell shows octets as code in a table, escaped.
func cell(s string) string {
	s = strings.Trim(strconv.QuoteToASCII(strings.TrimSuffix(s, "\r\n")), `"`)
	s = strings.ReplaceAll(strings.ReplaceAll(s, `\"`, `"`), `\r\n`, ` ⏎ `)
	if len(s) > 140 {
		s = s[:120] + " …"
	}
	return "`` " + strings.ReplaceAll(s, "|", `\|`) + " ``"
}

func cellText(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(plain(s))
}

const spoofingText = `# Display spoofing

What becomes of attempts to be shown as ` + "`admin@bank.example`" + `, sent from 192.0.2.66. ` + "`bank.example`" + ` publishes SPF, DKIM and DMARC with p=reject; ` + "`evil.example`" + ` is the attacker's, and everything about it is in order. The techniques are those of "Composition Kills: A Case Study of Email Sender Authentication" (Chen, Paxson, Jiang, 2020; its tool is espoofer) and our own. This page is made by a test (` + "`internal/verdict/spoofing_test.go`" + `).

"Marked as verified" is the domain for which Authentication-Results says dmarc=pass: what a reader may show a mark for. It is never the bank's. Where a message is accepted although it names the bank somewhere, its author is verified as somebody else, or as nobody, and a reader that shows the author's address shows that one. Control characters, bare CR and LF and NUL are refused by the session before any of this is asked; here they are asked nevertheless.

The verdicts are those of a server whose operator chose nothing. What an operator chooses for a domain (` + "`[[sender]]`" + `) changes what becomes of unproven mail in its name, never the mark: [decisions/0011](decisions/0011-operators-choice.md).
`
