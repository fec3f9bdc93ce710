package account

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"gatepost/internal/account/clientcert"
	"gatepost/internal/account/record"
	"gatepost/internal/account/terms"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/keys"
	"gatepost/internal/store"
)

// issuer is who issues certificates to our users.
type issuer struct {
	mu  sync.Mutex // held while another authority is made
	now *clientcert.Authority
}

// AskCertificates makes a door ask its clients for a certificate of ours.
func (d *Directory) AskCertificates(c *tls.Config) { d.certs.Ask(c) }

// LoadAuthorities reads whose certificates are ours. Until it is called, none
// are.
func (d *Directory) LoadAuthorities(ctx context.Context) error {
	d.issuer.mu.Lock()
	defer d.issuer.mu.Unlock()
	return d.loadAuthorities(ctx)
}

// loadAuthorities is LoadAuthorities for who holds the issuer.
func (d *Directory) loadAuthorities(ctx context.Context) error {
	var rows []record.Authority
	err := d.db.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = record.ReadAuthorities(tx)
		return err
	})
	if err != nil {
		return err
	}
	var list []*x509.Certificate
	d.issuer.now = nil
	for _, row := range rows {
		c, err := x509.ParseCertificate(row.Certificate)
		if err != nil { // others still sign in; a deep check tells too
			d.o.Log.Error("the certificate of an authority for clients is damaged", "err", err)
			continue
		}
		list = append(list, c)
		key, err := d.keys.Signer(row.Key)
		if err != nil {
			d.o.Log.Error("the key of an authority for clients cannot be read; the next certificate has another authority", "err", err)
			d.issuer.now = nil
			continue
		}
		d.issuer.now = &clientcert.Authority{Certificate: c, Key: key}
	}
	d.certs.Set(list)
	return nil
}

// authority returns who issues, and makes one that will last where there is
// none.
func (d *Directory) authority(ctx context.Context) (*clientcert.Authority, error) {
	d.issuer.mu.Lock()
	defer d.issuer.mu.Unlock()
	if a := d.issuer.now; a != nil && a.Lasts(d.o.Clock.Now()) {
		return a, nil
	}
	name, err := d.keys.MakeSigner(keys.ECDSA)
	if err != nil {
		return nil, err
	}
	key, err := d.keys.Signer(name)
	if err != nil {
		return nil, err
	}
	der, err := clientcert.NewAuthority(key, d.o.Hostname.Unicode(), d.o.Random, d.o.Clock.Now())
	if err != nil {
		return nil, err
	}
	err = d.db.Update(ctx, func(tx *store.Tx) error {
		return record.InsertAuthority(tx, record.Authority{Key: name, Certificate: der})
	})
	if err != nil {
		return nil, err
	}
	if err := d.loadAuthorities(ctx); err != nil {
		return nil, err
	}
	if d.issuer.now == nil {
		return nil, fmt.Errorf("the authority that was made for certificates cannot be used")
	}
	return d.issuer.now, nil
}

// Issued is a certificate, and that of its issuer, both in DER.
type Issued struct {
	Device
	Certificate, Authority []byte
}

// IssueCertificate issues a certificate to a device for the key of a request
// (PKCS #10). It is good for what t says: no scope is both, and no end is
// clientcert.Life from now.
func (d *Directory) IssueCertificate(ctx context.Context, a addr.Address, name string, t terms.Terms, request []byte) (*Issued, error) {
	if t.Expires.IsZero() {
		t.Expires = d.o.Clock.Now().Add(clientcert.Life)
	}
	t, err := d.checkDevice(name, t)
	if err != nil {
		return nil, err
	}
	public, err := clientcert.ParseRequest(request)
	if err != nil {
		return nil, err
	}
	if _, err := d.person(ctx, a); err != nil { // an authority is not made for nobody
		return nil, err
	}
	by, err := d.authority(ctx)
	if err != nil {
		return nil, err
	}
	now := d.o.Clock.Now()
	i := &Issued{Device: Device{Name: name, Terms: t, Created: time.Unix(now.Unix(), 0).UTC()}, Authority: by.Certificate.Raw}
	err = d.onAccount(ctx, a, func(tx *store.Tx, p *record.Person) (err error) {
		if err := room(tx, p, record.Certificate); err != nil {
			return err
		}
		if i.ID, err = tx.NextID("credential"); err != nil {
			return err
		}
		whose := clientcert.Subject{Address: p.Address, Account: p.ID, Credential: i.ID}
		if i.Certificate, err = by.Issue(whose, public, d.o.Random, now, t.Expires); err != nil {
			return err
		}
		i.SHA256 = clientcert.Sum(i.Certificate)
		c := &record.Credential{ID: i.ID, Kind: record.Certificate, Name: name, SHA256: i.SHA256, Terms: t, Set: i.Created}
		if err := record.InsertCredential(tx, p.ID, c); err != nil {
			return err
		}
		return d.note(tx, activity.CertificateIssued, p.Account, name)
	})
	if err != nil {
		return nil, err
	}
	return i, nil
}

// Certificates returns the certificates of an account's devices, the oldest
// first.
func (d *Directory) Certificates(ctx context.Context, a addr.Address) ([]Device, error) {
	return d.devices(ctx, a, record.Certificate)
}

// RevokeCertificate makes a certificate open nothing any more, and ends the
// sessions that were signed in with it.
func (d *Directory) RevokeCertificate(ctx context.Context, a addr.Address, id int64) error {
	return d.removeDevice(ctx, a, id, record.Certificate, activity.CertificateRevoked)
}
