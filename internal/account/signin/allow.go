package signin

import (
	"context"
	"fmt"
	"time"

	"gatepost/internal/account/record"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/terms"
	"gatepost/internal/envelope"
)

// barred says that a credential was right, but may not be used so. The client
// is not told: what a thief has found is then no different to him from what
// does not exist, and he does not look for the network that it is for.
type barred struct {
	credential *record.Credential
	why        error // one of terms
}

func (b *barred) Error() string { return fmt.Sprintf("credential %d: %v", b.credential.ID, b.why) }

// text says it to the account's owner.
func (b *barred) text() string {
	what := "password"
	if b.credential.Kind == record.Certificate {
		what = "certificate"
	}
	switch b.why {
	case terms.ErrExpired:
		return fmt.Sprintf("the %s of the device %q has expired", what, b.credential.Name)
	case terms.ErrNetwork:
		return fmt.Sprintf("the %s of the device %q is not for use from there", what, b.credential.Name)
	}
	return fmt.Sprintf("the %s of the device %q is not for this", what, b.credential.Name)
}

// purpose is what is done at a door.
func purpose(d envelope.Door) terms.Scope {
	if d == envelope.Submission {
		return terms.Send
	}
	return terms.Read
}

// allow reports why a credential may not be used by this client.
func (x *Exchange) allow(c *record.Credential) error {
	if why := c.Terms.Allow(purpose(x.peer.Door), x.peer.Addr.Addr(), x.desk.o.Clock.Now()); why != nil {
		return &barred{c, why}
	}
	return nil
}

// allowed returns the credential if the client may use it, else nil and the
// cause. It may be nil, of who is nobody.
func (x *Exchange) allowed(c *record.Credential) (*record.Credential, error) {
	if c == nil {
		return nil, errCredential
	}
	if cause := x.allow(c); cause != nil {
		return nil, cause
	}
	return c, nil
}

// device returns the credential that a device password is, nil and the cause
// if it is none that the client may use. It hashes nothing that is slow.
func (x *Exchange) device(password string) (*record.Credential, error) {
	p, err := secret.Prepare(password)
	if err != nil || x.claim.person == nil {
		return nil, errCredential
	}
	for _, c := range x.claim.person.Credentials {
		if c.Kind == record.Device && secret.Matches(p, c.SHA256) {
			return x.allowed(c)
		}
	}
	return nil, errCredential
}

// Credential returns which credential signed in, and until when it is good;
// the zero time: for ever.
func (x *Exchange) Credential() (id int64, until time.Time) {
	if x.used == nil {
		return 0, time.Time{}
	}
	return x.used.ID, x.used.Terms.Expires
}

// Holds reports whether what signed in still does. It is asked when a session
// can be told of the end of its credential: what ended before was told to
// nobody.
func (x *Exchange) Holds(ctx context.Context) bool {
	if x.used == nil {
		return false
	}
	if x.desk.verified.now() == x.claim.as && x.used.Kind != record.Token {
		return true // nothing has changed since it was looked up
	}
	_, now, err := x.desk.people.Login(ctx, x.claim.person.Address.String())
	if err != nil || now == nil || now.ID != x.claim.person.ID || now.Frozen {
		return false
	}
	if x.used.Kind == record.Token {
		holds, err := x.desk.o.Tokens.Holds(ctx, x.used.ID)
		return err == nil && holds
	}
	for _, c := range now.Credentials {
		if c.ID == x.used.ID {
			return !x.desk.people.Barred(now, c)
		}
	}
	return false
}
