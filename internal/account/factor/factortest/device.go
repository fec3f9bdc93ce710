package factortest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"
)

// Flags of what a device says of a person: Web Authentication, section 6.1.
const (
	Present  = 0x01
	Verified = 0x04
	attested = 0x40
)

// Device makes one passkey (ES256) and answers with it. What it says can be
// changed, as somebody who attacks would.
type Device struct {
	t      testing.TB
	key    *ecdsa.PrivateKey
	holder string

	ID        []byte
	Origin    string
	Flags     byte
	Counter   uint32 // what it says next; 0: it does not count
	Site      string // empty: the one that is asked for
	Challenge string // likewise
	Holder    string // likewise; "none": it does not say
}

// NewDevice returns a device that thinks it is at an origin.
func NewDevice(t testing.TB, origin string) *Device {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{t: t, key: key, ID: make([]byte, 32), Origin: origin, Flags: Present | Verified, Counter: 1}
	rand.Read(d.ID)
	return d
}

// options are those of both ceremonies.
type options struct {
	Challenge string
	RPID      string              `json:"rpId"`
	RP        struct{ ID string } `json:"rp"`
	User      struct{ ID string } `json:"user"`
}

// Make answers an invitation with a new passkey.
func (d *Device) Make(invitation []byte) []byte {
	o := d.read(invitation)
	d.holder = o.User.ID
	data := d.data(o.RP.ID, d.Flags|attested)
	d.count()
	data = append(data, make([]byte, 16)...) // the model is not told
	data = binary.BigEndian.AppendUint16(data, uint16(len(d.ID)))
	data = append(append(data, d.ID...), d.cose()...)
	object := append([]byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59"), byte(len(data)>>8), byte(len(data)))
	return d.response(map[string]any{
		"clientDataJSON":    d.client("webauthn.create", o.Challenge),
		"attestationObject": text(append(object, data...)),
		"transports":        []string{"internal"},
	})
}

// Sign answers a question with the passkey.
func (d *Device) Sign(question []byte) []byte {
	o := d.read(question)
	data := d.data(o.RPID, d.Flags)
	client := d.client("webauthn.get", o.Challenge)
	raw, err := base64.RawURLEncoding.DecodeString(client)
	if err != nil {
		d.t.Fatal(err)
	}
	clientSum := sha256.Sum256(raw)
	sum := sha256.Sum256(append(data, clientSum[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, d.key, sum[:])
	if err != nil {
		d.t.Fatal(err)
	}
	d.count()
	r := map[string]any{"clientDataJSON": client, "authenticatorData": text(data), "signature": text(signature), "userHandle": d.holder}
	switch d.Holder {
	case "":
	case "none":
		delete(r, "userHandle")
	default:
		r["userHandle"] = d.Holder
	}
	return d.response(r)
}

func (d *Device) count() {
	if d.Counter > 0 {
		d.Counter++
	}
}

func (d *Device) read(b []byte) (o options) {
	if err := json.Unmarshal(b, &o); err != nil || o.Challenge == "" {
		d.t.Fatalf("%s: %v", b, err)
	}
	return o
}

// data begins what a device says: section 6.1.
func (d *Device) data(site string, flags byte) []byte {
	if d.Site != "" {
		site = d.Site
	}
	sum := sha256.Sum256([]byte(site))
	return binary.BigEndian.AppendUint32(append(sum[:], flags), d.Counter)
}

// client is what the browser says of where it is.
func (d *Device) client(what, challenge string) string {
	if d.Challenge != "" {
		challenge = d.Challenge
	}
	b, err := json.Marshal(map[string]any{"type": what, "challenge": challenge, "origin": d.Origin, "crossOrigin": false})
	if err != nil {
		d.t.Fatal(err)
	}
	return text(b)
}

// cose is the public key: RFC 9053, section 7.1.1.
func (d *Device) cose() []byte {
	point, err := d.key.PublicKey.Bytes()
	if err != nil {
		d.t.Fatal(err)
	}
	b := append([]byte("\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20"), point[1:33]...)
	return append(append(b, "\x22\x58\x20"...), point[33:]...)
}

func (d *Device) response(r map[string]any) []byte {
	b, err := json.Marshal(map[string]any{
		"id": text(d.ID), "rawId": text(d.ID), "type": "public-key", "response": r, "clientExtensionResults": map[string]any{},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

func text(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
