package dkim

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rsa"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/internal/message"
	"gatepost/internal/resolve"
)

// FuzzSignature reads what a hostile message may hold as its signature.
func FuzzSignature(f *testing.F) {
	for _, dir := range []string{"chasquid/*.msg", "dkim_verifier/*.eml"} {
		files, _ := filepath.Glob("testdata/" + dir)
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
		}
	}
	zone := resolve.NewFake(rfcZone)
	f.Fuzz(func(t *testing.T, msg []byte) {
		for field := range message.Fields(msg) {
			s, err := ParseSignature(field)
			if err != nil {
				continue
			}
			if !s.Signs("From") || s.Domain == "" || s.Selector == "" || len(s.Headers) > MaxHeaders || s.Length < -1 {
				t.Errorf("%+v", s)
			}
			if without := WithoutValue(field.Raw); bytes.Contains(without, []byte("\x00")) != bytes.Contains(field.Raw, []byte("\x00")) && len(without) > len(field.Raw) {
				t.Errorf("%q", without)
			}
		}
		got := verify(t, zone, msg)
		if len(got) > MaxSignatures {
			t.Errorf("%d results", len(got))
		}
		for _, r := range got {
			if strings.ContainsAny(r.Reason+r.Selector+string(r.Domain), "\r\n\x00") || r.Reason == "" {
				t.Errorf("%+v", r)
			}
			rs := r.Auth()
			if r.Status == Pass && rs.Get("header", "d") == "" {
				t.Errorf("%+v", rs)
			}
		}
	})
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
