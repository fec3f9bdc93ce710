package signin

import (
	"bytes"
	"context"
	"crypto/tls"

	"gatepost/internal/account/clientcert"
	"gatepost/internal/account/record"
	"gatepost/internal/account/sasl"
)

// shown returns the certificate of ours that a client showed, if it did.
func (d *Desk) shown(t *tls.ConnectionState) (clientcert.Shown, bool) {
	if d.o.Certificates == nil {
		return clientcert.Shown{}, false
	}
	return d.o.Certificates.Shown(t, d.o.Clock.Now())
}

// external decides EXTERNAL: the handshake has shown that the client has the
// key of a certificate of ours, and what is asked here is whether it still
// opens anything. It is asked of the store each time, since the handshake may
// be that of a session which was resumed, and hours old.
func (x *Exchange) external(ctx context.Context, response []byte) ([]byte, bool, error) {
	if response == nil {
		return []byte{}, false, nil // RFC 4422, section 3.3: it is the client's turn
	}
	authzid, err := sasl.ParseExternal(response)
	if err != nil {
		return nil, false, x.malformed()
	}
	shown, ok := x.desk.shown(x.peer.TLS)
	if !ok { // it ended since it was offered
		return nil, false, x.refuse(errRevoked)
	}
	if err := x.identify(ctx, shown.Address.String(), authzid); err != nil {
		return nil, false, err
	}
	c, cause := x.certificate(shown)
	if !x.unguessed(c) {
		if err := x.wait(ctx); err != nil {
			return nil, false, err
		}
	}
	x.account, err = x.conclude(c, cause)
	return nil, err == nil, err
}

// certificate returns the credential that a certificate is, nil and the cause
// if it is none any more.
func (x *Exchange) certificate(shown clientcert.Shown) (*record.Credential, error) {
	p := x.claim.person
	if p == nil || p.ID != shown.Account { // gone, or somebody else's by now
		return nil, errRevoked
	}
	for _, c := range p.Credentials {
		if c.Kind == record.Certificate && c.ID == shown.Credential && bytes.Equal(c.SHA256, shown.Sum) {
			return x.allowed(c)
		}
	}
	return nil, errRevoked
}
