package factor

import (
	"encoding/base64"
	"encoding/binary"
	"io"
	"maps"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
)

// askedFor is how long a challenge may be answered.
const askedFor = 5 * time.Minute

const (
	// Anybody stands for the account in a challenge that whoever has a passkey
	// may answer.
	Anybody = 0
	// Nobody stands for it where nobody can.
	Nobody = -1
)

// What a challenge is for.
const (
	toSignIn = 's'
	toAdd    = 'a'
)

// asked is a challenge: what it is for, whose answer it wants, and until when.
// It is not kept here but sealed in the state that goes to the browser and
// comes back, so that nobody can fill the memory with challenges, or push out
// those of others. The key is bound to the life of the process, since what was
// answered is remembered for as long.
type asked struct {
	what      byte
	account   int64
	until     int64
	challenge protocol.URLEncodedBase64
}

// sealAsked is the purpose of the key that challenges are sealed with.
const sealAsked = "account passkey asked"

const challengeSize = 32

func (p *Party) ask(what byte, account int64) (*asked, string, error) {
	a := &asked{what, account, p.o.Clock.Now().Add(askedFor).Unix(), make([]byte, challengeSize)}
	if _, err := io.ReadFull(p.o.Random, a.challenge); err != nil {
		return nil, "", err
	}
	b := []byte{what}
	b = binary.BigEndian.AppendUint64(b, uint64(account))
	b = binary.BigEndian.AppendUint64(b, uint64(a.until))
	sealed := p.o.Keys.Seal(sealAsked, append(b, a.challenge...), p.life)
	return a, base64.RawURLEncoding.EncodeToString(sealed), nil
}

// asked returns what was asked, if it may be answered yet.
func (p *Party) asked(state string) (*asked, error) {
	if len(state) > maxState {
		return nil, ErrBegun
	}
	sealed, err := base64.RawURLEncoding.DecodeString(state)
	if err != nil {
		return nil, ErrBegun
	}
	b, err := p.o.Keys.Unseal(sealAsked, sealed, p.life)
	if err != nil || len(b) != 1+8+8+challengeSize {
		return nil, ErrBegun
	}
	a := &asked{b[0], int64(binary.BigEndian.Uint64(b[1:])), int64(binary.BigEndian.Uint64(b[9:])), b[17:]}
	if p.o.Clock.Now().Unix() >= a.until {
		return nil, ErrBegun
	}
	return a, nil
}

// spend notes that a challenge was answered: it is not a second time.
func (p *Party) spend(a *asked) error {
	now := p.o.Clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.spent) >= maxSpent {
		maps.DeleteFunc(p.spent, func(_ string, until time.Time) bool { return !now.Before(until) })
	}
	if len(p.spent) >= maxSpent {
		return ErrBusy
	}
	if _, answered := p.spent[string(a.challenge)]; answered {
		return ErrResponse
	}
	p.spent[string(a.challenge)] = time.Unix(a.until, 0)
	return nil
}
