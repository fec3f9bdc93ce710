package dkim

import (
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

// FuzzSignature reads what a hostile message may hold as its signature: what
// follows the name of the field. Seeds are short and the message is small,
// since the fuzzer tries to leave out of every input whatever it can.
func FuzzSignature(f *testing.F) {
	hash := base64Text(sum("x\r\n"))
	for _, s := range []string{
		"v=1;a=ed25519-sha256;d=a.b;s=c;h=from;bh=" + hash + ";b=AAAA",
		" v=1; a=rsa-sha256; c=relaxed/simple; d=a.b;\r\n s=c; h=From : To;\r\n bh=" + hash + "; b=AA==;",
		"v=1;a=rsa-sha1;d=a.b;s=c;h=from::to;bh=AAAA;b=AAAA;l=1;t=1;x=2;i=@c.a.b;q=dns/txt;z=y",
		"a=b;a=c",
	} {
		f.Add(s)
	}
	header, body := "From: j@a.b\r\nTo: x\r\n", []byte("x\r\n")
	zone := plainZone{"c._domainkey.a.b": "k=ed25519;p=" + base64Text(make([]byte, 32))}
	f.Fuzz(func(t *testing.T, value string) {
		v := NewVerifier([]byte("DKIM-Signature: " + value + "\r\n" + header))
		v.Write(body)
		for _, c := range v.list {
			if s := c.sig; c.err == nil && (!s.Signs("From") || s.Domain == "" || s.Selector == "" || len(s.Headers) > MaxHeaders || s.Length < -1) {
				t.Errorf("%+v", s)
			}
		}
		if len(v.list) > MaxSignatures {
			t.Errorf("%d signatures", len(v.list))
		}
		// One after the other: what runs at once covers the code in ever
		// other ways, and the fuzzer would take each for news.
		for i, digest := range v.digests(now) {
			r := v.result(t.Context(), zone, i, digest)
			if strings.ContainsAny(r.Reason+r.Selector+string(r.Domain), "\r\n\x00") || r.Reason == "" {
				t.Errorf("%+v", r)
			}
			if a := r.Auth(); r.Status == Pass && a.Get("header", "d") == "" {
				t.Errorf("%+v", a)
			}
		}
	})
}

// plainZone has TXT records. Unlike resolve.Fake it does the same for the same
// question every time, as the fuzzer wants it.
type plainZone map[string]string

func (z plainZone) Lookup(_ context.Context, name string, qtype uint16) (resolve.Answer, error) {
	if txt, ok := z[name]; ok {
		return resolve.Answer{Name: name, RRs: []dns.RR{&dns.TXT{Txt: []string{txt}}}}, nil
	}
	return resolve.Answer{}, &resolve.Error{Name: name, Type: qtype, Kind: resolve.ErrNotFound}
}

// FuzzKey reads what a hostile zone may hold as a key, and uses it.
func FuzzKey(f *testing.F) {
	for line := range strings.Lines(rfcZone) {
		_, text, _ := strings.Cut(strings.TrimSpace(line), ` TXT "`)
		f.Add(strings.ReplaceAll(strings.TrimSuffix(text, `"`), `" "`, ""))
	}
	f.Add("v=DKIM1; h=sha256; s=email; t=y:s; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
	f.Add("p=MAwwDQYJKoZIhvcNAQEBBQADAQA=")
	f.Fuzz(func(t *testing.T, txt string) {
		k, err := ParseKey(txt)
		if err != nil {
			return
		}
		switch pub := k.Public.(type) {
		case *rsa.PublicKey:
			if n := pub.N.BitLen(); n < MinRSA || n > MaxRSA {
				t.Errorf("%d bits", n)
			}
		case ed25519.PublicKey:
		default:
			t.Errorf("%T", pub)
		}
		keys := Keys{list: []*Key{k}}
		for _, a := range []Algorithm{RSASHA256, Ed25519SHA256} {
			if _, err := keys.Verify(a, [32]byte{}, make([]byte, 256)); err == nil {
				t.Errorf("a signature of nothing fits %q", txt)
			}
		}
	})
}
