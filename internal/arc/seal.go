package arc

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"gatepost/internal/authres"
	"gatepost/internal/dkim"
)

// Errors of NewSealer.
var (
	// ErrTooLong: the chain has as many sets as there may be: RFC 8617,
	// section 5.1.
	ErrTooLong = errors.New("arc: the chain cannot be longer")
	// ErrFailed: somebody has sealed before that the chain fails. Nothing
	// is added to such a one: section 5.1.
	ErrFailed = errors.New("arc: the chain is known to have failed")
)

// Sealer adds a set to the chain of one message while it is passed on. Make
// it with the header as it will leave, write the body, then call Seal once.
type Sealer struct {
	key      dkim.SigningKey
	made     time.Time
	instance string
	cv       string
	said     []byte // our ARC-Authentication-Results
	names    []string
	header   []byte // the signed fields as they are hashed
	before   []byte // the sealed fields of earlier sets as they are hashed
	body     dkim.Body
	hash     *dkim.BodyHash
}

// NewSealer begins to seal a header section as the server that calls itself
// said.ID in the name of a key's domain. received is what the chain was worth
// when the message came, said what was found then, and made the time now.
func NewSealer(section []byte, key dkim.SigningKey, received Result, said authres.Results, made time.Time) (*Sealer, error) {
	if _, err := key.Check(); err != nil {
		return nil, err
	}
	h := dkim.NewHeader(section)
	c, _ := collect(h) // what is broken is known to received
	switch {
	case received.Instances >= MaxSets || c.top >= MaxSets:
		return nil, ErrTooLong
	case c.claimsFailure():
		return nil, ErrFailed
	case c.top != received.Instances:
		return nil, fmt.Errorf("arc: the chain has %d sets, and had %d when it was verified", c.top, received.Instances)
	}
	s := &Sealer{key: key, made: made, instance: strconv.Itoa(c.top + 1), cv: received.Status.String()}
	s.said = said.AppendARC(nil, s.instance)
	// Section 5.1.2: the seal of a chain that fails covers its own set alone.
	if received.Status == Pass {
		for i := range c.links {
			s.before = appendSet(s.before, c.links[i].raw)
		}
	}
	if err := s.sign(h); err != nil {
		return nil, err
	}
	s.hash = s.body.Hash(dkim.Relaxed, -1)
	return s, nil
}

// sign collects the fields that our message signature covers: those that our
// own mail has signed, and the author's signatures (section 4.1.2).
func (s *Sealer) sign(h *dkim.Header) error {
	var err error
	if s.names, err = dkim.SignedFields(h); err != nil {
		return err
	}
	for _, f := range h.Fields {
		if f.Is("DKIM-Signature") && len(s.names) < dkim.MaxHeaders {
			s.names = append(s.names, "DKIM-Signature")
		}
	}
	s.header = h.AppendSigned(nil, s.names)
	return nil
}

// Write takes the next octets of the body, in canonical form. It never
// fails.
func (s *Sealer) Write(p []byte) (int, error) { return s.body.Write(p) }

// Seal ends the body and returns the three fields of the set, to go in front
// of the header. It fails only if the key does.
func (s *Sealer) Seal() ([]byte, error) {
	s.body.Close()
	b := dkim.NewBuilder(fieldNames[signature])
	b.Tag("i", s.instance)
	b.Common(s.key, s.made, 0, s.names, s.hash.Sum())
	signed, err := b.Sign(s.key, s.header)
	if err != nil {
		return nil, fmt.Errorf("arc: signing: %w", err)
	}
	algorithm, err := s.key.Check()
	if err != nil {
		return nil, err
	}
	b = dkim.NewBuilder(fieldNames[seal])
	b.Tag("i", s.instance)
	b.Tag("a", algorithm.String())
	b.Tag("cv", s.cv)
	b.Tag("d", string(s.key.Domain))
	b.Tag("s", s.key.Selector)
	b.Tag("t", strconv.FormatInt(s.made.Unix(), 10))
	sealed, err := b.Sign(s.key, appendSet(s.before, [fields][]byte{results: s.said, signature: signed}))
	if err != nil {
		return nil, fmt.Errorf("arc: sealing: %w", err)
	}
	// The newest field stands on top: section 5.1.
	return append(append(sealed, signed...), s.said...), nil
}
