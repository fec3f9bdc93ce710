package queue

import (
	"crypto/ed25519"
	"errors"
	"io"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
	"gatepost/internal/resolve"
)

// What we write ourselves is signed, however it is cut up when it is written.
func TestOwnMailIsSigned(t *testing.T) {
	const text = "From: a@home.example\r\nTo: x@a.example\r\nSubject: hi\r\n\r\none\r\n\r\ntwo\r\n"
	key := dkim.SigningKey{Domain: "home.example", Selector: "s", Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	names := resolve.NewFake(`s._domainkey.home.example. TXT "v=DKIM1; k=ed25519; p=O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik="`)
	inWorld(t, func(t *testing.T, w *world) {
		w.q.o.Begin = func(section []byte) (*dkim.Signer, error) {
			return dkim.NewSigner(section, []dkim.SigningKey{key}, w.q.o.Clock.Now(), time.Hour)
		}
		for _, size := range []int{1, 7, len(text)} {
			e := &envelope.Envelope{Client: "test", Recipients: []envelope.Recipient{{To: addr.MustParse("x@a.example")}}}
			if err := w.q.Submit(t.Context(), e, func(out io.Writer) error {
				for rest := text; rest != ""; {
					n := min(size, len(rest))
					if _, err := io.WriteString(out, rest[:n]); err != nil {
						return err
					}
					rest = rest[n:]
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			v := dkim.NewVerifier(append(e.Header, "From: a@home.example\r\nTo: x@a.example\r\nSubject: hi\r\n"...))
			io.WriteString(v, "one\r\n\r\ntwo\r\n")
			if got := v.Verify(t.Context(), names, w.q.o.Clock.Now()); len(got) != 1 || got[0].Status != dkim.Pass {
				t.Errorf("in pieces of %d: %+v", size, got)
			}
		}
		broken := errors.New("no key")
		w.q.o.Begin = func([]byte) (*dkim.Signer, error) { return nil, broken }
		err := w.q.Submit(t.Context(), &envelope.Envelope{}, func(out io.Writer) error {
			_, err := io.WriteString(out, text)
			return err
		})
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	})
}
