package gate

import (
	"context"

	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
)

// Seal is the signing of one message while it passes.
type Seal struct{ signer *dkim.Signer }

// Sign begins to sign a message of a user or a [relay] client, with the
// header that is kept of it. It returns nil for mail from the world, and for
// what is in the name of no domain of ours.
func (g *Gate) Sign(p *envelope.Peer, _ *envelope.Envelope, header []byte) (*Seal, error) {
	if !p.Verified() {
		return nil, nil
	}
	signer, err := g.o.Signer.Begin(header)
	if signer == nil {
		return nil, err
	}
	return &Seal{signer}, err
}

// Write takes the next octets of the body.
func (s *Seal) Write(p []byte) (int, error) { return s.signer.Write(p) }

// Judge puts the signatures in front of the message.
func (s *Seal) Judge(_ context.Context, e *envelope.Envelope) error {
	fields, err := s.signer.Sign()
	e.Header = append(e.Header, fields...)
	return err
}
