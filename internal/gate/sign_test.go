package gate

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
)

// noKeys signs nothing.
type noKeys struct{}

func (noKeys) Begin([]byte) (*dkim.Signer, error) { return nil, nil }

// oneKey signs everything.
type oneKey struct{ dkim.SigningKey }

func (k oneKey) Begin(section []byte) (*dkim.Signer, error) {
	return dkim.NewSigner(section, []dkim.SigningKey{k.SigningKey}, time.Unix(1e9, 0), time.Hour)
}

// Users and [relay] clients are signed for, others are not.
func TestSign(t *testing.T) {
	t.Parallel()
	g := newGate(newTown())
	for _, keys := range []Signer{noKeys{}, oneKey{dkim.SigningKey{
		Domain: "example.org", Selector: "s", Signer: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
	}}} {
		g.o.Signer = keys
		_, signs := keys.(oneKey)
		for _, c := range []struct {
			name string
			peer *envelope.Peer
			want bool
		}{
			{"a user", anna(t, g), signs},
			{"a client that may relay", peer(t, g, envelope.MX, "10.0.0.1", ""), signs},
			{"the world", world(t, g), false},
		} {
			e := &envelope.Envelope{Header: []byte("First: x\r\n")}
			s, err := g.Sign(c.peer, e, []byte(section("From: anna@example.org")))
			if err != nil || (s != nil) != c.want {
				t.Errorf("%s: %v, %v", c.name, s, err)
			}
			if s == nil {
				continue
			}
			s.Write([]byte("hi\r\n"))
			if err := s.Judge(t.Context(), e); err != nil || !strings.HasPrefix(string(e.Header), "First: x\r\nDKIM-Signature: v=1;") {
				t.Errorf("%s: %q, %v", c.name, e.Header, err)
			}
		}
	}
}
