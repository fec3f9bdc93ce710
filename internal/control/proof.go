package control

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"gatepost/internal/envelope"
	"gatepost/internal/proof"
)

// Proof is what protection a message got. Its field names in JSON are a
// contract, as are those of Hop.
type Proof struct {
	Message string `json:"message"` // as it was asked for
	Hops    []Hop  `json:"hops"`    // in the order of time
}

// Hop is one way of a message from a host to the next.
type Hop struct {
	ID          envelope.ID `json:"id"`        // ours, of the message
	Direction   string      `json:"direction"` // "in" or "out"
	Time        time.Time   `json:"time"`
	Host        string      `json:"host"` // the other one, or the account that signed in
	Address     string      `json:"address"`
	Recipients  []string    `json:"recipients,omitempty"` // out
	Alias       string      `json:"alias,omitempty"`      // out: of ours, that it was forwarded from
	TLS         string      `json:"tls"`                  // empty: in the clear
	Cipher      string      `json:"cipher,omitempty"`
	KeyExchange string      `json:"key_exchange,omitempty"`
	Chain       string      `json:"chain,omitempty"`  // out: SHA-256 of the certificates
	Policy      string      `json:"policy,omitempty"` // out: what asked for protection
	Met         string      `json:"met,omitempty"`    // out: how it was met
	Verified    bool        `json:"verified"`         // it is proved who the other one is
	RequireTLS  bool        `json:"require_tls"`      // RFC 8689
	Sentence    string      `json:"sentence"`         // all of it
}

// secure fills in how a connection was protected.
func (h *Hop) secure(version, cipher uint16, group tls.CurveID) {
	if version == 0 {
		return
	}
	h.TLS, h.Cipher = tls.VersionName(version), tls.CipherSuiteName(cipher)
	if group != 0 {
		h.KeyExchange = group.String()
	}
}

// showProof takes an id of ours or a Message-ID.
func (d *Desk) showProof(ctx context.Context, a Name, emit Emit) error {
	ids := make([]envelope.ID, 1)
	var err error
	if ids[0], err = envelope.ParseID(a.Name); err != nil {
		if ids, err = d.Proofs.Find(ctx, a.Name); err != nil {
			return err
		}
	}
	p := Proof{Message: a.Name}
	for _, id := range ids {
		in, err := d.arrivals(ctx, id)
		if err != nil {
			return err
		}
		out, err := d.deliveries(ctx, id)
		if err != nil {
			return err
		}
		p.Hops = append(append(p.Hops, in...), out...)
	}
	if len(p.Hops) == 0 {
		return fmt.Errorf("nothing is known of %s: it is neither an id nor the Message-ID of a message that came, or was delivered, in the last 30 days", a.Name)
	}
	return emit(p, nil)
}

func (d *Desk) arrivals(ctx context.Context, id envelope.ID) (list []Hop, err error) {
	arrivals, err := d.Proofs.Arrival(ctx, id)
	for i := range arrivals {
		a := &arrivals[i]
		h := Hop{
			ID: id, Direction: "in", Time: a.At, Host: a.Name, Address: a.Client, Verified: a.SignedIn, RequireTLS: a.RequireTLS,
			Sentence: "It came " + a.String() + ".",
		}
		h.secure(a.Version, a.Cipher, a.Group)
		list = append(list, h)
	}
	return list, err
}

func (d *Desk) deliveries(ctx context.Context, id envelope.ID) (list []Hop, err error) {
	deliveries, err := d.Proofs.Of(ctx, id)
	for i := range deliveries {
		o := &deliveries[i]
		h := Hop{
			ID: id, Direction: "out", Time: o.At, Host: o.Host, Address: o.Addr.String(), Recipients: o.Recipients, Alias: o.Alias,
			Policy: o.Policy, Met: o.Met, Verified: o.Verified, RequireTLS: o.RequireTLS,
			Sentence: "For " + strings.Join(o.Recipients, ", ") + " it went " + o.String() + ".",
		}
		if o.Alias != "" {
			h.Sentence = "Forwarded from " + o.Alias + ", for " + strings.Join(o.Recipients, ", ") + " it went " + o.String() + "."
		}
		if h.secure(o.Version, o.Cipher, o.Group); h.TLS != "" {
			h.Chain = hex.EncodeToString(o.Chain[:])
		}
		list = append(list, h)
	}
	return list, err
}

// forgetLevel takes a domain.
func (d *Desk) forgetLevel(ctx context.Context, a Name, emit Emit) error {
	domain, err := parseDomain(a.Name)
	if err != nil {
		return err
	}
	found, err := d.Forget(ctx, string(domain))
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("nothing is remembered of %s", domain)
	}
	return emit(Name{string(domain)}, nil)
}

func (d *Desk) listUnverified(ctx context.Context, _ None, emit Emit) error {
	list, more, err := d.Proofs.Unverified(ctx)
	if err != nil {
		return err
	}
	if more > 0 {
		list = append(list, proof.Unverified{Domain: "others", Met: "there are too many to tell apart", Messages: more})
	}
	for _, u := range list {
		if err := emit(u, nil); err != nil {
			return err
		}
	}
	return nil
}
