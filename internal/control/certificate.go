package control

import (
	"context"
	"encoding/json"
	"time"

	"gatepost/internal/dane"
	"gatepost/internal/hostkey"
)

// CertificateInfo is a certificate that an authority issued.
type CertificateInfo struct {
	Name  string `json:"name"`
	DER   []byte `json:"der,omitempty"`   // none if it cannot be read
	Fault string `json:"fault,omitempty"` // why it cannot be shown
}

func (d *Desk) listCertificates(ctx context.Context, _ None, emit Emit) error {
	list, err := d.Certificates(ctx)
	for _, c := range list {
		info := CertificateInfo{Name: c.Name}
		if len(c.Chain) > 0 {
			info.DER = c.Chain[0].Raw
		}
		if c.Fault != nil {
			info.Fault = c.Fault.Error()
		}
		if err := emit(info, nil); err != nil {
			return err
		}
	}
	return err
}

// HostInfo is how the keys of the host's certificate stand.
type HostInfo struct {
	Files  bool       `json:"files"` // certificate and key are the operator's
	Keys   []HostKey  `json:"keys"`  // the one in use first
	Chain  [][]byte   `json:"chain"` // that the doors show
	Change *time.Time `json:"change"`
}

// HostKey is what an operator sees of one of them.
type HostKey struct {
	State  hostkey.State `json:"state"`
	Record dane.Record   `json:"record"`
	Due    bool          `json:"due"`
	Seen   *time.Time    `json:"seen"`
	Ready  *time.Time    `json:"ready"`
}

func (d *Desk) showHost(ctx context.Context, _ None, emit Emit) error {
	p, err := d.Host.Plan(ctx)
	if err != nil {
		return err
	}
	info := HostInfo{Files: p.Files, Change: moment(p.Change)}
	for _, k := range p.Keys {
		info.Keys = append(info.Keys, HostKey{k.State, k.Record, k.Due, moment(k.Seen), moment(k.Ready)})
	}
	for _, c := range p.Chain {
		info.Chain = append(info.Chain, c.Raw)
	}
	return emit(info, nil)
}

// HostOf reads what certificate.host shows.
func HostOf(it Item) (info HostInfo, err error) {
	err = json.Unmarshal(it.JSON, &info)
	return info, err
}

// rollHost has the next key used as soon as it may be.
func (d *Desk) rollHost(ctx context.Context, _ None, _ Emit) error { return d.Host.Roll(ctx) }
