package factor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/go-webauthn/webauthn/webauthn"

	"gatepost/internal/clock"
	"gatepost/internal/keys"
)

const (
	// maxResponse bounds what a browser sends, before anything of it is read.
	// An answer has about 1 KiB; a new passkey with an attestation that nobody
	// asked for, a few.
	maxResponse = 32 << 10
	// maxHandle bounds the id of a passkey: Web Authentication, section 4.
	maxHandle = 1023
	// maxSpent bounds the challenges that are remembered as answered, each for
	// as long as it would be good. Only who has a passkey adds to them.
	maxSpent = 100_000
)

// Errors of passkeys.
var (
	// ErrResponse says that what a browser sent is not right: malformed, to
	// another challenge, from another site, not verified, a copy.
	ErrResponse = errors.New("that passkey was not accepted")
	// ErrBusy says that too many challenges are remembered.
	ErrBusy = errors.New("too many sign-ins with passkeys at once")
)

// PartyOptions configure a Party. All fields are required.
type PartyOptions struct {
	Site    string   // the host name that passkeys are made for: the RP ID
	Origins []string // where its pages are, as https://mx.example.org
	Keys    *keys.Keys
	Clock   clock.Clock
	Random  io.Reader // cryptographically secure
}

// Party is whom people show their passkeys to: the relying party of Web
// Authentication. Its methods may be called from any goroutine.
type Party struct {
	o    PartyOptions
	lib  *webauthn.WebAuthn
	life []byte // of the process: what was asked before it ends with it

	mu    sync.Mutex
	spent map[string]time.Time // challenges that were answered, and until when that matters
}

// NewParty returns a party.
func NewParty(o PartyOptions) (*Party, error) {
	p := &Party{o: o, life: make([]byte, 16), spent: map[string]time.Time{}}
	if _, err := io.ReadFull(o.Random, p.life); err != nil {
		return nil, err
	}
	var err error
	p.lib, err = webauthn.New(&webauthn.Config{
		RPID: o.Site, RPDisplayName: o.Site, RPOrigins: o.Origins,
		// Our pages stand in nobody's frame.
		RPTopOriginVerificationMode: protocol.TopOriginExplicitVerificationMode,
	})
	return p, err
}

// Site is the host name that passkeys are made for.
func (p *Party) Site() string { return p.o.Site }

// Holder is whose a passkey is, or is to be.
type Holder struct {
	Account int64
	Name    string   // that the device shows
	Has     [][]byte // the ids of the passkeys that it has
}

// macHolder is the purpose of the key that account ids are hidden with.
const macHolder = "account passkey holder"

// handle is what a passkey remembers of its account: it tells nothing.
func (p *Party) handle(account int64) []byte {
	h := p.o.Keys.MAC(macHolder, of(account))
	return h[:]
}

// user is a Holder as the library wants it.
type user struct {
	handle []byte
	name   string
	list   []webauthn.Credential
}

func (u *user) WebAuthnID() []byte                         { return u.handle }
func (u *user) WebAuthnName() string                       { return u.name }
func (u *user) WebAuthnDisplayName() string                { return u.name }
func (u *user) WebAuthnCredentials() []webauthn.Credential { return u.list }

// Invite begins to make a passkey. The options are what
// PublicKeyCredential.parseCreationOptionsFromJSON takes. What is made can be
// found without a name (it is discoverable), and asks for a finger or a PIN.
func (p *Party) Invite(h Holder) (options []byte, state string, err error) {
	a, state, err := p.ask(toAdd, h.Account)
	if err != nil {
		return nil, "", err
	}
	found := true
	options, err = json.Marshal(protocol.PublicKeyCredentialCreationOptions{
		RelyingParty: protocol.RelyingPartyEntity{CredentialEntity: protocol.CredentialEntity{Name: p.o.Site}, ID: p.o.Site},
		User: protocol.UserEntity{
			CredentialEntity: protocol.CredentialEntity{Name: h.Name}, DisplayName: h.Name,
			ID: protocol.URLEncodedBase64(p.handle(h.Account)),
		},
		Challenge: a.challenge, Parameters: parameters, Timeout: int(askedFor.Milliseconds()),
		CredentialExcludeList: descriptors(h.Has),
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: &found,
			UserVerification: protocol.VerificationRequired,
		},
		// Which device somebody has is not our affair.
		Attestation: protocol.PreferNoAttestation,
	})
	return options, state, err
}

// parameters are the kinds of signatures that are taken, the best first.
var parameters = []protocol.CredentialParameter{
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgES256},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgEdDSA},
	{Type: protocol.PublicKeyCredentialType, Algorithm: webauthncose.AlgRS256},
}

func descriptors(ids [][]byte) []protocol.CredentialDescriptor {
	list := make([]protocol.CredentialDescriptor, len(ids))
	for i, id := range ids {
		list[i] = protocol.CredentialDescriptor{Type: protocol.PublicKeyCredentialType, CredentialID: id}
	}
	return list
}

// Made is a passkey that was made: what is kept of it.
type Made struct {
	ID      []byte
	Check   []byte // what its answers are checked with
	Counter int64
}

// Accept reads the answer to Invite.
func (p *Party) Accept(h Holder, state string, response []byte) (*Made, error) {
	a, err := p.asked(state)
	if err != nil || a.what != toAdd || a.account != h.Account {
		return nil, ErrBegun
	}
	if len(response) > maxResponse {
		return nil, ErrResponse
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return nil, ErrResponse
	}
	c, err := p.lib.CreateCredential(&user{handle: p.handle(h.Account)}, webauthn.SessionData{
		Challenge: a.challenge.String(), RelyingPartyID: p.o.Site, UserID: p.handle(h.Account),
		UserVerification: protocol.VerificationRequired, CredParams: parameters,
	}, parsed)
	if err != nil || len(c.ID) == 0 || len(c.ID) > maxHandle {
		return nil, ErrResponse
	}
	if err := p.spend(a); err != nil {
		return nil, err
	}
	check, err := json.Marshal(kept{c.ID, c.PublicKey, c.Flags.BackupEligible})
	return &Made{ID: c.ID, Check: check, Counter: int64(c.Authenticator.SignCount)}, err
}

// kept is what answers are checked with.
type kept struct {
	ID     []byte `json:"id"`
	Key    []byte `json:"key"`    // COSE
	Synced bool   `json:"synced"` // it may be on several devices
}

// Ask begins a sign-in with one of an account's passkeys; account is Anybody
// where the device says whose it is. The options are what
// PublicKeyCredential.parseRequestOptionsFromJSON takes.
func (p *Party) Ask(account int64, allow [][]byte) (options []byte, state string, err error) {
	a, state, err := p.ask(toSignIn, account)
	if err != nil {
		return nil, "", err
	}
	options, err = json.Marshal(protocol.PublicKeyCredentialRequestOptions{
		Challenge: a.challenge, Timeout: int(askedFor.Milliseconds()), RelyingPartyID: p.o.Site,
		AllowedCredentials: descriptors(allow), UserVerification: protocol.VerificationRequired,
	})
	return options, state, err
}

// Answer is what a browser sent in answer to Ask. Nothing of it is believed
// yet.
type Answer struct {
	ID     []byte // of the passkey
	parsed *protocol.ParsedCredentialAssertionData
}

// ReadAnswer reads an answer.
func ReadAnswer(response []byte) (*Answer, error) {
	if len(response) > maxResponse {
		return nil, ErrResponse
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil || len(parsed.RawID) == 0 || len(parsed.RawID) > maxHandle {
		return nil, ErrResponse
	}
	return &Answer{ID: parsed.RawID, parsed: parsed}, nil
}

// Verify checks an answer with what is kept of the passkey, which is the
// account's, and returns how often it has signed by now, as it says. check and
// counter are as Accept and Verify returned them. An answer is accepted once.
func (p *Party) Verify(an *Answer, state string, account int64, check []byte, counter int64) (int64, error) {
	a, err := p.asked(state)
	if err != nil || a.what != toSignIn || a.account != Anybody && a.account != account {
		return 0, ErrResponse
	}
	var k kept
	if err := json.Unmarshal(check, &k); err != nil || !bytes.Equal(k.ID, an.ID) {
		return 0, fmt.Errorf("what is kept of a passkey is damaged: %w", ErrResponse)
	}
	// One that came without a name must say whose it is.
	if a.account == Anybody && len(an.parsed.Response.UserHandle) == 0 {
		return 0, ErrResponse
	}
	c, err := p.lib.ValidateLogin(&user{handle: p.handle(account), list: []webauthn.Credential{{
		ID: k.ID, PublicKey: k.Key, Flags: webauthn.CredentialFlags{BackupEligible: k.Synced},
		Authenticator: webauthn.Authenticator{SignCount: uint32(counter)},
	}}}, webauthn.SessionData{
		Challenge: a.challenge.String(), RelyingPartyID: p.o.Site, UserID: p.handle(account),
		UserVerification: protocol.VerificationRequired,
	}, an.parsed)
	// A counter that does not grow is that of a copy: Web Authentication,
	// section 6.1.1. Passkeys that are synced have none.
	if err != nil || c.Authenticator.CloneWarning {
		return 0, ErrResponse
	}
	if err := p.spend(a); err != nil {
		return 0, err
	}
	return int64(c.Authenticator.SignCount), nil
}

// macDecoy is the purpose of the key that made-up passkeys come from.
const macDecoy = "account passkey decoy"

// sizes are those that ids of passkeys have on common devices, in octets.
var sizes = [8]int{16, 16, 20, 20, 32, 32, 32, 64}

// MaxDecoys is how many passkeys are made up for a name at most.
const MaxDecoys = 2

// Decoys returns ids of passkeys that a name does not have: always the same
// for it, so that a list does not show who has any.
func (p *Party) Decoys(name string) [][]byte {
	seed := p.o.Keys.MAC(macDecoy, []byte(name))
	n := 1
	if seed[0] < 64 {
		n = MaxDecoys
	}
	list := make([][]byte, n)
	for i := range list {
		upper := p.o.Keys.MAC(macDecoy, []byte(name), []byte{byte(i), 0})
		lower := p.o.Keys.MAC(macDecoy, []byte(name), []byte{byte(i), 1})
		list[i] = append(upper[:], lower[:]...)[:sizes[seed[1+i]%8]]
	}
	return list
}
