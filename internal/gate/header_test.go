package gate

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
)

// section writes fields as a header section with its empty line.
func section(fields ...string) string {
	return strings.Join(append(fields, "", ""), "\r\n")
}

// Who may say From. Each case is a way to show one author and be another.
func TestOwnAuthor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		header string
		want   int
	}{
		{"own", section("From: anna@example.org"), 250},
		{"own, with a name", section(`From: "Anna A." <anna@example.org>`), 250},
		{"own, in another case", section("FROM: <ANNA@Example.ORG>"), 250},
		{"own, plus tag", section("From: anna+lists@example.org"), 250},
		{"own, quoted", section(`From: "anna"@example.org`), 250},
		{"an alias of hers", section("From: Sales <sales@example.org>"), 250},
		{"own, folded", section("From: Anna\r\n <anna@example.org>"), 250},
		{"own, comment", section("From: anna@example.org (ben@example.org)"), 250},
		{"two of hers", section("From: anna@example.org, sales@example.org"), 250},
		{"group of hers", section("From: us: anna@example.org, sales@example.org;"), 250},
		{"encoded word in the name", section("From: =?utf-8?q?=C3=84nna?= <anna@example.org>"), 250},
		{"own Sender", section("From: anna@example.org", "Sender: sales@example.org"), 250},
		{"no From", section("Subject: x"), 250},

		{"a colleague", section("From: ben@example.org"), 550},
		{"the world", section("From: ceo@bank.example"), 550},
		{"subdomain", section("From: anna@sub.example.org"), 550},
		{"own name, other address", section(`From: "anna@example.org" <ben@example.org>`), 550},
		{"own comment, other address", section("From: ben@example.org (anna@example.org)"), 550},
		{"comment inside", section("From: ben(x)@example.org"), 550},
		{"hers and a colleague's", section("From: anna@example.org, ben@example.org"), 550},
		{"colleague first", section("From: ben@example.org, anna@example.org"), 550},
		{"group with a colleague", section("From: us: anna@example.org, ben@example.org;"), 550},
		{"empty group", section("From: undisclosed:;"), 550},
		{"empty", section("From:"), 550},
		{"two fields", section("From: anna@example.org", "From: ben@example.org"), 550},
		{"two fields, hers last", section("From: ben@example.org", "From: anna@example.org"), 550},
		{"two fields, both hers", section("From: anna@example.org", "From: anna@example.org"), 550},
		{"two fields in two cases", section("From: anna@example.org", "fRoM: ben@example.org"), 550},
		{"second field with a space before the colon", section("From: anna@example.org", "From : ben@example.org"), 550},
		{"only field with a space before the colon", section("From : ben@example.org"), 550},
		{"tab before the colon", section("From\t: anna@example.org"), 550},
		{"folded to another", section("From: anna@example.org,\r\n\tben@example.org"), 550},
		{"encoded word as address", section("From: =?utf-8?q?ceo=40bank.example?= <ben@example.org>"), 550},
		{"encoded word alone", section("From: =?utf-8?q?ceo=40bank.example?="), 550},
		{"encoded word as local part", section("From: =?utf-8?q?ben=40example.org=3E?=anna@example.org"), 550},
		{"source route", section("From: <@ben.example:anna@example.org>"), 550},
		{"two at signs", section("From: ben@example.org@example.org"), 550},
		{"brackets twice", section("From: <ben@example.org> <anna@example.org>"), 550},
		{"junk behind", section("From: anna@example.org ben@example.org"), 550},
		{"quoted local part with another", section(`From: "ben@example.org"@example.org`), 550},
		{"unclosed quote", section(`From: "anna@example.org`), 550},
		{"unclosed comment", section("From: anna@example.org (x"), 550},
		{"NUL", section("From: anna@example.org\x00ben@example.org"), 550},
		{"bare CR", section("From: anna@example.org\rFrom: ben@example.org"), 550},
		{"bare LF", section("From: anna@example.org\nFrom: ben@example.org"), 550},
		{"line that is no field", section("From: anna@example.org", "nonsense"), 550},
		{"no From and no header", section("nonsense"), 550},
		{"folded before the first field", section(" From: ben@example.org", "From: anna@example.org"), 550},
		{"mbox line", section("From ben@example.org Sat Nov 22", "From: anna@example.org"), 550},

		{"Sender of a colleague", section("From: anna@example.org", "Sender: ben@example.org"), 550},
		{"two Senders", section("From: anna@example.org", "Sender: anna@example.org", "Sender: anna@example.org"), 550},
		{"Sender with two", section("From: anna@example.org", "Sender: anna@example.org, sales@example.org"), 550},
		{"empty Sender", section("From: anna@example.org", "Sender:"), 550},
		{"broken Sender", section("From: anna@example.org", "Sender: x"), 550},
	} {
		for _, from := range []addr.Address{{}, addr.MustParse("anna@example.org")} {
			g := newGate(newTown())
			e := &envelope.Envelope{From: from}
			got, err := g.Header(t.Context(), anna(t, g), e, []byte(c.header))
			if code(err) != c.want {
				t.Errorf("%s, MAIL FROM:<%s>: %v, want %d", c.name, from, err, c.want)
			}
			if err == nil && message.Count(got, "From") != 1 {
				t.Errorf("%s: kept %q", c.name, got)
			}
			// What others write is theirs to answer for.
			for _, p := range []*envelope.Peer{world(t, g), peer(t, g, envelope.MX, "10.0.0.1", "")} {
				if _, err := g.Header(t.Context(), p, e, []byte(c.header)); err != nil {
					t.Errorf("%s from the world: %v", c.name, err)
				}
			}
		}
	}
}

func TestCompletes(t *testing.T) {
	t.Parallel()
	const date = "Date: Sun, 22 Nov 2026 03:29:00 +0000\r\n"
	for _, c := range []struct {
		name, header    string
		mailFrom        string
		user, relayPeer string // what goes in front; ID stands for the Message-ID field
	}{
		{"complete", section("From: anna@example.org", "date: x", "MESSAGE-id: y"), "", "", ""},
		{"nothing but From", section("From: anna@example.org"), "", date + "ID", date + "ID"},
		{"no Message-ID", section("Date: x", "From: anna@example.org"), "", "ID", "ID"},
		{"no Date", section("Message-ID: x", "From: anna@example.org"), "", date, date},
		{"no From", section("Date: x", "Message-ID: y"), "sales@example.org", "From: sales@example.org\r\n", ""},
		{"no From, null sender", section("Date: x", "Message-ID: y"), "", "From: anna@example.org\r\n", ""},
		{"no header", "\r\n", "", "From: anna@example.org\r\n" + date + "ID", date + "ID"},
		{"no header, no empty line", "", "", "From: anna@example.org\r\n" + date + "ID", date + "ID"},
	} {
		g := newGate(newTown())
		e := &envelope.Envelope{}
		if c.mailFrom != "" {
			e.From = addr.MustParse(c.mailFrom)
		}
		for _, who := range []struct {
			name string
			peer *envelope.Peer
			want string
		}{
			{"user", anna(t, g), c.user},
			{"relay", peer(t, g, envelope.MX, "10.0.0.1", ""), c.relayPeer},
			{"world", world(t, g), ""},
		} {
			got, err := g.Header(t.Context(), who.peer, e, []byte(c.header))
			if err != nil {
				t.Errorf("%s: %s: %v", c.name, who.name, err)
				continue
			}
			want := who.want
			if f, ok := message.Find(got, "Message-ID"); ok {
				want = strings.ReplaceAll(want, "ID", string(f.Raw))
			}
			if string(got) != want+c.header {
				t.Errorf("%s: %s: got %q, want %q", c.name, who.name, got, want+c.header)
			}
		}
	}
}

func TestMessageIDsDiffer(t *testing.T) {
	t.Parallel()
	g := newGate(newTown())
	seen := map[string]bool{}
	for range 100 {
		got, err := g.Header(t.Context(), anna(t, g), &envelope.Envelope{}, []byte("From: anna@example.org\r\n\r\n"))
		f, ok := message.Find(got, "Message-ID")
		if err != nil || !ok || seen[f.Value()] || !strings.HasSuffix(f.Value(), "@mx.example.org>") {
			t.Fatalf("%q, %v", got, err)
		}
		seen[f.Value()] = true
	}
}

// What only we may say is taken out, in every spelling that a reader might
// take for it; what others say of themselves stays.
func TestForgedFields(t *testing.T) {
	t.Parallel()
	gone := []string{
		"Authentication-Results: mx.example.org; dkim=pass",
		"AUTHENTICATION-RESULTS:MX.Example.ORG;spf=pass",
		"Authentication-Results : mx.example.org; dkim=pass",
		"Authentication-Results: mx.example.org 1; none",
		"Authentication-Results: mx.example.org",
		"Authentication-Results: mx.example.org.; none",
		"Authentication-Results:\r\n mx.example.org;\r\n\tdmarc=pass",
		"Authentication-Results: (a (nested) \\) comment) mx.example.org (x); none",
		`Authentication-Results: "mx.example.org"; none`,
		`Authentication-Results: "mx.\example.org"; none`,
		"Authentication-Results: mx.example.org(comment); none",
		"Authentication-Results: (unclosed mx.example.org; none",
		`Authentication-Results: "unclosed`,
		"Authentication-Results:",
		"Authentication-Results: ; none",
		"X-Gatepost-Verdict: clean",
		"x-gatepost-: x",
		"X-GATEPOST-Captured:\r\n y",
	}
	stay := []string{
		"Authentication-Results: other.example; dkim=pass",
		"Authentication-Results: mx.example.org.other.example; dkim=pass",
		"Authentication-Results: other.example; x=mx.example.org",
		"Authentication-Results: (mx.example.org) other.example; none",
		"ARC-Authentication-Results: i=1; mx.example.org; none",
		"X-Authentication-Results: mx.example.org; none",
		"X-Gatepost: x",
		"Subject: Authentication-Results: mx.example.org; dkim=pass",
		"Received: from a by b;\r\n Authentication-Results: mx.example.org; none",
	}
	g := newGate(newTown())
	basic := []string{"Date: x", "Message-ID: y", "From: anna@example.org"}
	for _, p := range []*envelope.Peer{world(t, g), peer(t, g, envelope.MX, "10.0.0.1", "")} {
		for _, f := range gone {
			header := section(append([]string{f}, basic...)...)
			got, err := g.Header(t.Context(), p, &envelope.Envelope{}, []byte(header))
			if want := section(basic...); err != nil || string(got) != want {
				t.Errorf("%q: got %q, %v", f, got, err)
			}
		}
		for _, f := range stay {
			header := section(append([]string{f}, basic...)...)
			got, err := g.Header(t.Context(), p, &envelope.Envelope{}, []byte(header))
			if err != nil || string(got) != header {
				t.Errorf("%q: got %q, %v", f, got, err)
			}
		}
	}
}

func TestSubmissionTakesOutBcc(t *testing.T) {
	t.Parallel()
	g := newGate(newTown())
	header := section(
		"Bcc: ben@example.org,\r\n\tx@remote.example,\r\n y@remote.example",
		"Date: x", "bCC:secret@remote.example", "Message-ID: y",
		"Subject: about\r\n Bcc: this stays", "X-Bcc: stays", "Bcc-Note: stays",
		"Return-Path: <ben@example.org>", "Resent-Bcc: z@remote.example",
		"From: anna@example.org", "BCC:")
	want := section("Date: x", "Message-ID: y", "Subject: about\r\n Bcc: this stays", "X-Bcc: stays", "Bcc-Note: stays",
		"From: anna@example.org")
	// What follows the header is not the gate's; should it be handed over
	// all the same, it stays.
	got, err := g.Header(t.Context(), anna(t, g), &envelope.Envelope{}, []byte(header))
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = g.Header(t.Context(), world(t, g), &envelope.Envelope{}, []byte(header))
	if err != nil || string(got) != header {
		t.Errorf("from the world: got %q, %v", got, err)
	}
}

// Whatever the fields are, an edit takes out whole fields and nothing else.
func TestEditKeepsEveryOtherOctet(t *testing.T) {
	t.Parallel()
	w := newTown()
	rapid.Check(t, func(t *rapid.T) {
		g := newGate(w)
		p := &envelope.Peer{Account: "anna@example.org"}
		line := rapid.StringMatching(`[ -9;-~äß]{0,20}`)
		field := rapid.Custom(func(t *rapid.T) string {
			name := rapid.SampledFrom([]string{"Bcc", "bcc", "Subject", "X-Bcc", "BCC", "Return-Path", "X-Gatepost-A", "To", "Authentication-Results"}).Draw(t, "name")
			f := name + ":" + line.Draw(t, "value") + "\r\n"
			for range rapid.IntRange(0, 2).Draw(t, "folds") {
				f += rapid.SampledFrom([]string{" ", "\t"}).Draw(t, "fold") + line.Draw(t, "more") + "\r\n"
			}
			return f
		})
		fields := append(rapid.SliceOf(field).Draw(t, "fields"), "From: anna@example.org\r\n", "Date: x\r\n", "Message-ID: y\r\n")
		end := rapid.SampledFrom([]string{"", "\r\n"}).Draw(t, "end")
		header := strings.Join(fields, "") + end

		kept := slices.DeleteFunc(slices.Clone(fields), func(f string) bool {
			name, value, _ := strings.Cut(strings.ToLower(f), ":")
			return name == "bcc" || name == "return-path" || name == "x-gatepost-a" ||
				name == "authentication-results" && g.isOurs(strings.ReplaceAll(value, "\r\n", ""))
		})
		before := bytes.Clone([]byte(header))
		got, err := g.Header(t.Context(), p, &envelope.Envelope{}, []byte(header))
		if want := strings.Join(kept, "") + end; err != nil || string(got) != want {
			t.Fatalf("got %q, want %q, %v", got, want, err)
		}
		if !bytes.Equal(before, []byte(header)) {
			t.Fatal("the section that was handed over changed")
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add([]byte(section("From: anna@example.org", "Bcc: x@remote.example")))
	f.Add([]byte(section("Authentication-Results: (a) mx.example.org; none", "From: anna@example.org")))
	f.Add([]byte(section(`Authentication-Results: "mx.example.org"`)))
	f.Add([]byte("\r\n"))
	w := newTown()
	g := newGate(w)
	f.Fuzz(func(t *testing.T, header []byte) {
		for _, p := range []*envelope.Peer{{}, {Relay: true}, {Account: "anna@example.org"}} {
			got, err := g.Header(t.Context(), p, &envelope.Envelope{}, bytes.Clone(header))
			if err != nil {
				continue
			}
			for field := range message.Fields(got) {
				if g.isForged(field) || p.Account != "" && isPrivate(field) {
					t.Errorf("%q was kept", field.Raw)
				}
			}
			// Edited once, it needs no more.
			again, err := g.Header(t.Context(), p, &envelope.Envelope{}, bytes.Clone(got))
			if err != nil || !bytes.Equal(got, again) {
				t.Errorf("%q became %q, %v", got, again, err)
			}
		}
	})
}

func TestAuthservID(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a.example; x":     "a.example",
		" \t(c) a.example": "a.example",
		`"a b\"c"; x`:      `a b"c`,
		"a.example(c);":    "a.example",
		"a.example/1; x":   "a.example/1",
		"((a)(b)) x":       "x",
		"":                 "!",
		";":                "!",
		"(a":               "!",
		`"a`:               "!",
		`"a\`:              "!",
		"(\\":              "!",
	} {
		id, ok := authservID(in)
		if !ok {
			id = "!"
		}
		if id != want {
			t.Errorf("%q: %q, want %q", in, id, want)
		}
	}
}

// Who may waive what other domains ask of TLS, and with which words.
func TestTLSRequired(t *testing.T) {
	t.Parallel()
	const no = "TLS-Required: No"
	g := newGate(newTown())
	for _, c := range []struct {
		name   string
		peer   *envelope.Peer
		need   bool // REQUIRETLS
		fields []string
		want   bool
	}{
		{"a user", anna(t, g), false, []string{no}, true},
		{"in other letters, folded", anna(t, g), false, []string{"tls-required:\r\n no "}, true},
		{"beside REQUIRETLS", anna(t, g), true, []string{no}, false},
		{"without the field", anna(t, g), false, nil, false},
		{"twice", anna(t, g), false, []string{no, no}, false},
		{"yes", anna(t, g), false, []string{"TLS-Required: Yes"}, false},
		{"no thanks", anna(t, g), false, []string{no + " thanks"}, false},
		{"empty", anna(t, g), false, []string{"TLS-Required:"}, false},
		{"in another field", anna(t, g), false, []string{"Subject: " + no}, false},
		{"a relay", peer(t, g, envelope.MX, "10.0.0.1", ""), false, []string{no}, false},
		{"the world", world(t, g), false, []string{no}, false},
	} {
		e := &envelope.Envelope{RequireTLS: c.need}
		header := section(append([]string{"From: anna@example.org"}, c.fields...)...)
		got, err := g.Header(t.Context(), c.peer, e, []byte(header))
		if err != nil || e.TLSOptional != c.want || e.RequireTLS != c.need {
			t.Errorf("%s: waived %v, %v", c.name, e.TLSOptional, err)
		}
		if !strings.HasSuffix(string(got), header) {
			t.Errorf("%s: the header became %q", c.name, got)
		}
	}
}
