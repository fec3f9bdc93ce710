package outbound

import (
	"io"
	"time"

	"gatepost/internal/dkim"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
)

const (
	// young is for how long the signatures of a message are not even looked
	// at: that the DNS shows their keys was seen not long before.
	young = 15 * time.Minute
	// old is when they are made anew in any case: they are good for a few
	// days longer than a message may wait, and it may wait all of that from
	// now on.
	old = 24 * time.Hour
)

// renewed returns an attempt whose message is signed for the present, where
// it is ours to sign.
func (o *Outbound) renewed(a *envelope.Attempt) *envelope.Attempt {
	e := a.Envelope
	if !ofOurs(e) || !a.Afresh && !o.stale(e) {
		return a
	}
	fields, err := o.sign(a)
	if err != nil {
		o.o.Log.Error("a message leaves with the signature of when it came", "id", e.ID, "err", err)
		return a
	}
	next := *a
	// Signatures by keys that nobody finds any more go, also where there is
	// nothing to put in their place: they count as failures.
	header := message.Remove(e.Header, "DKIM-Signature")
	next.Envelope = e.Leaving(e.From, append(header[:len(header):len(header)], fields...), a.Body.Size())
	return &next
}

// stale reports whether a message waited for too long for its signatures.
func (o *Outbound) stale(e *envelope.Envelope) bool {
	waited := o.o.Clock.Now().Sub(e.Received)
	if waited < young {
		return false
	}
	return waited >= old || !o.shown(e.Header)
}

// shown reports whether there are signatures in a header of ours, and the keys
// of all of them are used now.
func (o *Outbound) shown(header []byte) bool {
	any := false
	for f := range message.Fields(header) {
		if !f.Is("DKIM-Signature") {
			continue
		}
		s, err := dkim.ParseSignature(f)
		if err != nil || !o.o.Keys.Uses(s.Domain, s.Selector) {
			return false
		}
		any = true
	}
	return any
}

// sign returns the signatures of a message as of now, none if nobody signs it.
func (o *Outbound) sign(a *envelope.Attempt) ([]byte, error) {
	section, body, err := split(a.Body)
	if err != nil {
		return nil, err
	}
	signer, err := o.o.Keys.Begin(section)
	if signer == nil || err != nil {
		return nil, err
	}
	if _, err := io.Copy(signer, body); err != nil {
		return nil, err
	}
	return signer.Sign()
}
