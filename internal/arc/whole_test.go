package arc

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"gatepost/internal/authres"
	"gatepost/internal/resolve"
)

const verified = "Authentication-Results: mx.one.example; spf=pass smtp.mailfrom=x@y.example\n" +
	"Authentication-Results: elsewhere.example; dmarc=fail\n" +
	"Authentication-Results: MX.ONE.EXAMPLE;\n\tdmarc=pass header.from=y.example\n" +
	"From: x@y.example\nSubject: Dinner\n\nSoup.\nAnd more.\n"

func forwarder(i int, r resolve.Resolver) *Forwarder {
	return &Forwarder{Key: hops()[i], ID: "mx." + string(hops()[i].Domain), Resolver: r}
}

// Whole messages are sealed hop after hop, whatever their line ends, and
// stay what they are.
func TestForwarder(t *testing.T) {
	t.Parallel()
	crlf := strings.ReplaceAll(verified, "\n", "\r\n")
	for name, msg := range map[string]string{
		"LF": verified, "CR LF": crlf, "no end": strings.TrimSuffix(verified, "\n"), "no body": "From: x@y.example\n", "nothing": "", "no header": "\nSoup.\n",
	} {
		content := []byte(msg)
		for i := range hops() {
			sealed, err := forwarder(i, newZone()).Seal(t.Context(), content, now)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			set, ok := bytes.CutSuffix(sealed, content)
			ends := bytes.Count(set, []byte("\r\n"))
			if !ok || name == "CR LF" && ends != bytes.Count(set, []byte("\n")) || name != "CR LF" && ends != 0 {
				t.Errorf("%s: %q", name, sealed)
			}
			content = sealed
		}
		header, body := canonical(content)
		r := verify(t, newZone(), append(append(header, "\r\n"...), body...))
		if r.Status != Pass || len(r.Sets) != len(hops()) || r.OldestPass > 1 {
			t.Fatalf("%s: %+v", name, r)
		}
		said := r.Sets[0].Results
		if strings.Contains(msg, "Authentication") && (len(said.Results) != 2 || said.ID != "mx.one.example" || len(said.Find("dmarc")) != 1 || said.Find("dmarc")[0].Value != "pass") {
			t.Errorf("%s: %+v", name, said)
		}
		if later := r.Sets[1].Results; len(later.Results) != 0 {
			t.Errorf("%s: two.example says what it did not find: %+v", name, later)
		}
	}
}

// Nothing is sealed that would say the wrong thing for good.
func TestForwarderRefuses(t *testing.T) {
	t.Parallel()
	broken := strings.Replace(verified, "spf=pass", "spf=", 1)
	if _, err := forwarder(0, newZone()).Seal(t.Context(), []byte(broken), now); !errors.Is(err, authres.ErrSyntax) {
		t.Errorf("results that cannot be read: %v", err)
	}
	many := strings.Repeat("Authentication-Results: mx.one.example; a=pass; b=pass\n", authres.MaxResults) + verified
	if _, err := forwarder(0, newZone()).Seal(t.Context(), []byte(many), now); err == nil {
		t.Error("more results than can be read again")
	}
	sealed, err := forwarder(0, newZone()).Seal(t.Context(), []byte(verified), now)
	if err != nil {
		t.Fatal(err)
	}
	down := resolve.NewFake("")
	down.Fail("s._domainkey.one.example", dns.TypeTXT, resolve.ErrTemporary)
	if _, err := forwarder(1, down).Seal(t.Context(), sealed, now); !errors.Is(err, resolve.ErrTemporary) {
		t.Errorf("while the DNS does not answer: %v", err)
	}
	changed := bytes.Replace(sealed, []byte("Soup"), []byte("Soap"), 1)
	failed, err := forwarder(1, newZone()).Seal(t.Context(), changed, now)
	if err != nil || !bytes.Contains(failed, []byte("cv=fail")) {
		t.Fatalf("a chain that fails is sealed as such: %v\n%s", err, failed)
	}
	if _, err := forwarder(2, newZone()).Seal(t.Context(), failed, now); !errors.Is(err, ErrFailed) {
		t.Errorf("after a failed chain: %v", err)
	}
}

func FuzzForwarder(f *testing.F) {
	f.Add([]byte(verified))
	f.Add([]byte("ARC-Seal: i=1\r\n\r\nx"))
	f.Add([]byte("\n\n"))
	f.Add([]byte("Authentication-Results: mx.two.example"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if sealed, err := forwarder(1, newZone()).Seal(t.Context(), content, now); err == nil && !bytes.HasSuffix(sealed, content) {
			t.Errorf("%q became %q", content, sealed)
		}
	})
}
