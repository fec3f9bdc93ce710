package outbound

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/arc"
	"gatepost/internal/authres"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
)

// maxHeader bounds the header section that is sealed or signed, in octets:
// more than a session takes.
const maxHeader = 1 << 20

var (
	errHeader  = errors.New("the header is too long")
	errUnknown = errors.New("whether its chain of seals was good could not be told when it came")
)

// seal returns an ARC set for a message that leaves with these fields in front
// of what was received. There is none, and no error, for what we verified
// nothing of, and where the DNS shows no key of ours to seal with.
func (o *Outbound) seal(a *envelope.Attempt, domain addr.Domain, header []byte) ([]byte, error) {
	said, ok := o.found(a.Envelope)
	if !ok {
		return nil, nil
	}
	key, ok := o.o.Keys.Sealing(domain)
	if !ok {
		return nil, nil
	}
	section, body, err := split(a.Body)
	if err != nil {
		return nil, err
	}
	received, ok := arc.Told(section, said)
	if !ok {
		return nil, errUnknown // to seal that it fails would end it
	}
	s, err := arc.NewSealer(append(header[:len(header):len(header)], section...), key, received, said, o.o.Clock.Now())
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(s, body); err != nil {
		return nil, err
	}
	return s.Seal()
}

// found returns what gate found out about a message when it came: in our own
// fields, which nobody else writes.
func (o *Outbound) found(e *envelope.Envelope) (authres.Results, bool) {
	f, ok := message.Find(e.Header, "Authentication-Results")
	if !ok {
		return authres.Results{}, false
	}
	said, err := authres.Parse(f.Value())
	return said, err == nil && strings.EqualFold(said.ID, string(o.o.Hostname))
}

// split returns the header section of a body as it was received, and what
// follows the empty line.
func split(b *envelope.Body) (section []byte, rest io.Reader, err error) {
	r := bufio.NewReader(b.Reader())
	for fresh := true; ; { // at the beginning of a line
		line, err := r.ReadSlice('\n')
		switch {
		case err == nil && fresh && string(line) == "\r\n":
			return section, r, nil
		case err == io.EOF:
			return append(section, line...), r, nil
		case err != nil && err != bufio.ErrBufferFull:
			return nil, nil, err
		}
		fresh = err == nil
		if section = append(section, line...); len(section) > maxHeader {
			return nil, nil, errHeader
		}
	}
}
