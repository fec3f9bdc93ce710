package sasl

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/xdg-go/scram"
)

// Keys are those that a login may prove with, all under one salt and count,
// because the client is told these before it shows which of its passwords
// it has. There is always at least one: for a login that does not exist,
// made-up ones that stay the same.
type Keys struct {
	Salt       []byte
	Iterations int
	Stored     [][]byte // StoredKey of each credential
	Server     [][]byte // ServerKey of each
}

// Conversation is the server's side of one SCRAM exchange. The library runs
// an exchange for one credential; here one runs for each, on the same
// messages and with the same nonce, and whichever accepts the proof decides.
type Conversation struct {
	new   func(*scram.Server) *scram.ServerConversation
	nonce string
	runs  []*scram.ServerConversation
}

// Errors of a conversation, beside ErrMessage and those of the look-up.
var (
	// ErrProof says that no key matches: a wrong password.
	ErrProof = errors.New("wrong proof")
	// ErrBinding says that the client saw other mechanisms or another TLS
	// connection than ours: somebody is in between, or it is confused.
	ErrBinding = errors.New("not bound to this connection")
)

// nonceSize is the number of random octets in our part of the nonce.
const nonceSize = 24

// NewConversation begins an exchange on the connection. mechanism is Scram or
// ScramPlus; random is cryptographically secure.
func NewConversation(mechanism string, t *tls.ConnectionState, random io.Reader) (*Conversation, error) {
	raw := make([]byte, nonceSize)
	if _, err := io.ReadFull(random, raw); err != nil {
		return nil, err
	}
	c := &Conversation{nonce: base64.StdEncoding.EncodeToString(raw)}
	b := scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: binding(t)}
	switch {
	case mechanism == ScramPlus && b.IsSupported():
		c.new = func(s *scram.Server) *scram.ServerConversation {
			return s.NewConversationWithChannelBindingRequired(b)
		}
	case mechanism == Scram && b.IsSupported():
		// RFC 5802, section 6: a client that could bind ("y") but was not
		// offered PLUS had it stripped on the way, since we do offer it.
		c.new = func(s *scram.Server) *scram.ServerConversation {
			return s.NewConversationWithChannelBinding(b)
		}
	case mechanism == Scram:
		c.new = (*scram.Server).NewConversation
	default:
		return nil, fmt.Errorf("%s cannot run on this connection", mechanism)
	}
	return c, nil
}

// First reads the client's first message and returns the answer. find is
// asked once for the keys of the login; its error is returned as it is.
func (c *Conversation) First(message []byte, find func(login, authzid string) (Keys, error)) ([]byte, error) {
	if !printable(message) {
		return nil, ErrMessage
	}
	var (
		keys    Keys
		findErr error
		probe   *scram.ServerConversation
	)
	probe, err := c.run(func(login string) (scram.StoredCredentials, error) {
		if keys, findErr = find(login, probe.AuthzID()); findErr != nil {
			return scram.StoredCredentials{}, findErr
		}
		return keys.credential(0), nil
	})
	if err != nil {
		return nil, err
	}
	answer, err := probe.Step(string(message))
	switch {
	case findErr != nil:
		return nil, findErr
	case err != nil:
		return nil, reason(answer)
	}
	c.runs = []*scram.ServerConversation{probe}
	for i := 1; i < len(keys.Stored); i++ {
		next, err := c.run(func(string) (scram.StoredCredentials, error) { return keys.credential(i), nil })
		if err != nil {
			return nil, err
		}
		if _, err := next.Step(string(message)); err != nil {
			return nil, err
		}
		c.runs = append(c.runs, next)
	}
	return []byte(answer), nil
}

func (c *Conversation) run(find scram.CredentialLookup) (*scram.ServerConversation, error) {
	s, err := scram.SHA256.NewServer(find)
	if err != nil {
		return nil, err
	}
	return c.new(s.WithNonceGenerator(func() string { return c.nonce })), nil
}

func (k *Keys) credential(i int) scram.StoredCredentials {
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations},
		StoredKey:  k.Stored[i],
		ServerKey:  k.Server[i],
	}
}

// Final reads the client's proof and tries it with every key, whether one
// matched before or not. It returns our own proof and which key it was.
func (c *Conversation) Final(message []byte) (answer []byte, which int, err error) {
	if !printable(message) {
		return nil, -1, ErrMessage
	}
	which = -1
	var failure error
	for i, r := range c.runs {
		a, err := r.Step(string(message))
		if err == nil && r.Valid() {
			answer, which = []byte(a), i
		} else {
			failure = reason(a)
		}
	}
	if which < 0 {
		return nil, -1, failure
	}
	return answer, which, nil
}

// reason says why the library refused. Its own errors quote the message, and
// are not for the log.
func reason(answer string) error {
	switch answer {
	case scram.ErrInvalidProof:
		return ErrProof
	case scram.ErrChannelBindingsDontMatch, scram.ErrServerDoesSupportChannelBinding,
		scram.ErrChannelBindingNotSupported, scram.ErrUnsupportedChannelBindingType:
		return ErrBinding
	}
	return ErrMessage
}

// printable reports whether a SCRAM message holds nothing but UTF-8 text:
// RFC 5802, section 7 has no control characters in any of its values.
func printable(message []byte) bool {
	return utf8.Valid(message) && !bytes.ContainsFunc(message, func(r rune) bool { return r < ' ' || r == 0x7f })
}
