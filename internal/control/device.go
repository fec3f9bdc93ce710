package control

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/addr"
)

// DeviceTerms are what a device may do with what it signs in with. An empty
// scope is both, the zero time never, no networks all of them.
type DeviceTerms struct {
	Scope    string    `json:"scope"`
	Expires  time.Time `json:"expires"`
	Networks []string  `json:"networks"`
}

func (a DeviceTerms) parse() (t account.Terms, err error) {
	t.Expires = a.Expires
	if a.Scope != "" {
		if t.Scope, err = account.ParseScope(a.Scope); err != nil {
			return t, err
		}
	}
	t.Networks, err = account.ParseNetworks(a.Networks)
	return t, err
}

// DeviceAdd are the arguments of account.device.add.
type DeviceAdd struct {
	Address string      `json:"address"`
	Name    string      `json:"name"`
	Terms   DeviceTerms `json:"terms"`
}

// CertificateIssue are the arguments of account.certificate.issue. Request is
// a PKCS #10, in PEM or DER.
type CertificateIssue struct {
	DeviceAdd
	Request []byte `json:"request"`
}

// DeviceName says which device password or certificate of an account is meant:
// its number, or its name if no other has that.
type DeviceName struct {
	Address string `json:"address"`
	Device  string `json:"device"`
}

// DeviceInfo is what an operator sees of what a device signs in with.
type DeviceInfo struct {
	ID       int64      `json:"id"`
	Name     string     `json:"name"`
	Scope    string     `json:"scope"` // send, read or both
	Created  time.Time  `json:"created"`
	Used     *time.Time `json:"used"`     // to the hour; null: never
	Expires  *time.Time `json:"expires"`  // null: never
	Expired  bool       `json:"expired"`  // and opens nothing any more
	Networks []string   `json:"networks"` // from which alone it works; empty: from anywhere

	Fingerprint string `json:"fingerprint,omitempty"` // of a certificate: SHA-256
	Password    string `json:"password,omitempty"`    // in the answer to device.add only
	Certificate []byte `json:"certificate,omitempty"` // DER, in the answer to certificate.issue only
	Authority   []byte `json:"authority,omitempty"`   // likewise
}

func (d *Desk) deviceInfo(dev account.Device) DeviceInfo {
	t := dev.Terms
	info := DeviceInfo{
		ID: dev.ID, Name: dev.Name, Scope: string(t.Scope), Created: dev.Created, Expired: t.Expired(d.Directory.Now()),
		Networks: account.Networks(t.Networks), Fingerprint: hex.EncodeToString(dev.SHA256),
	}
	if !dev.Used.IsZero() {
		info.Used = &dev.Used
	}
	if !t.Expires.IsZero() {
		info.Expires = &t.Expires
	}
	return info
}

func (d *Desk) addDevice(ctx context.Context, a DeviceAdd, emit Emit) error {
	address, t, err := a.parse()
	if err != nil {
		return err
	}
	dev, password, err := d.Directory.AddDevice(ctx, address, a.Name, t)
	if err != nil {
		return err
	}
	info := d.deviceInfo(dev)
	info.Password = password
	return emit(info, nil)
}

func (a *DeviceAdd) parse() (address addr.Address, t account.Terms, err error) {
	if address, err = parseAddress(a.Address); err != nil {
		return address, t, err
	}
	t, err = a.Terms.parse()
	return address, t, err
}

func (d *Desk) issueCertificate(ctx context.Context, a CertificateIssue, emit Emit) error {
	address, t, err := a.parse()
	if err != nil {
		return err
	}
	i, err := d.Directory.IssueCertificate(ctx, address, a.Name, t, a.Request)
	if err != nil {
		return err
	}
	info := d.deviceInfo(i.Device)
	info.Certificate, info.Authority = i.Certificate, i.Authority
	return emit(info, nil)
}

// devices reads the device passwords or the certificates of an account.
type devices func(context.Context, addr.Address) ([]account.Device, error)

func (d *Desk) listDevices(ctx context.Context, a Name, emit Emit) error {
	return d.emitDevices(ctx, a, d.Directory.Devices, emit)
}

func (d *Desk) listClientCertificates(ctx context.Context, a Name, emit Emit) error {
	return d.emitDevices(ctx, a, d.Directory.Certificates, emit)
}

func (d *Desk) emitDevices(ctx context.Context, a Name, of devices, emit Emit) error {
	address, err := parseAddress(a.Name)
	if err != nil {
		return err
	}
	list, err := of(ctx, address)
	for _, dev := range list {
		if err := emit(d.deviceInfo(dev), nil); err != nil {
			return err
		}
	}
	return err
}

func (d *Desk) showDevice(ctx context.Context, a DeviceName, emit Emit) error {
	_, dev, err := a.find(ctx, d.Directory.Devices)
	if err != nil {
		return err
	}
	return emit(d.deviceInfo(dev), nil)
}

func (d *Desk) removeDevice(ctx context.Context, a DeviceName, _ Emit) error {
	address, dev, err := a.find(ctx, d.Directory.Devices)
	if err != nil {
		return err
	}
	return d.Directory.RemoveDevice(ctx, address, dev.ID)
}

func (d *Desk) revokeCertificate(ctx context.Context, a DeviceName, _ Emit) error {
	address, dev, err := a.find(ctx, d.Directory.Certificates)
	if err != nil {
		return err
	}
	return d.Directory.RevokeCertificate(ctx, address, dev.ID)
}

// find returns the device that is meant.
func (a *DeviceName) find(ctx context.Context, of devices) (address addr.Address, dev account.Device, err error) {
	if address, err = parseAddress(a.Address); err != nil {
		return address, dev, err
	}
	list, err := of(ctx, address)
	if err != nil {
		return address, dev, err
	}
	var named []account.Device
	for _, one := range list {
		if strconv.FormatInt(one.ID, 10) == a.Device {
			return address, one, nil
		}
		if one.Name == a.Device {
			named = append(named, one)
		}
	}
	switch len(named) {
	case 0:
		return address, dev, fmt.Errorf("%s has none that is called %q; see what there is with list", a.Address, a.Device)
	case 1:
		return address, named[0], nil
	}
	return address, dev, fmt.Errorf("%s has %d that are called %q; say its number, which list shows", a.Address, len(named), a.Device)
}
