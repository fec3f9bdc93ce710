package operate

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/audit"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon/datadir"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/dane"
	"gatepost/internal/hostkey"
	"gatepost/internal/keys"
)

// hostTLSA returns what the TLSA records of this server depend on.
func hostTLSA(ctx context.Context, cfg *config.Config, op *Operator) (*audit.TLSA, error) {
	t := newTLSA(cfg)
	return t, op.Do(ctx, "certificate.host", control.None{}, func(it control.Item) error {
		info, err := control.HostOf(it)
		if err != nil {
			return err
		}
		for _, der := range info.Chain {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return err
			}
			t.Chain = append(t.Chain, c)
		}
		for _, k := range info.Keys {
			t.Keys = append(t.Keys, audit.HostKey{
				Record: k.Record, Used: k.State == hostkey.InUse, Retired: k.State == hostkey.Retired, Why: whyHostKey(info, k),
			})
		}
		return nil
	})
}

func newTLSA(cfg *config.Config) *audit.TLSA {
	return &audit.TLSA{Host: addr.Domain(cfg.Hostname), Ports: settings.TLSPorts(cfg), Clock: clock.System}
}

// keptTLSA is hostTLSA of a server that does not run and is only looked at;
// nil where its keys are not there.
func keptTLSA(cfg *config.Config, k *keys.Keys, chain []*x509.Certificate) (*audit.TLSA, error) {
	if k == nil || len(chain) == 0 {
		return nil, nil
	}
	t := newTLSA(cfg)
	t.Chain = chain
	used, err := dane.ForKey(chain[0].PublicKey)
	if err != nil {
		return nil, err
	}
	t.Keys = []audit.HostKey{{Record: used, Used: true, Why: whyHostKey(control.HostInfo{}, control.HostKey{State: hostkey.InUse})}}
	current, next := k.HostKeys()
	if current == nil {
		if cfg.TLS.Certificate == "" {
			return nil, nil
		}
		return t, nil
	}
	for _, s := range []struct {
		public any
		state  hostkey.State
	}{{current.Public(), hostkey.Wanted}, {next.Public(), hostkey.Next}} {
		r, err := dane.ForKey(s.public)
		if err != nil {
			return nil, err
		}
		if !r.Equal(used) {
			t.Keys = append(t.Keys, audit.HostKey{Record: r, Why: whyHostKey(control.HostInfo{}, control.HostKey{State: s.state})})
		}
	}
	return t, nil
}

// whyHostKey says what a record is for.
func whyHostKey(info control.HostInfo, k control.HostKey) string {
	switch {
	case k.State == hostkey.InUse && info.Files:
		return "Other servers know this one by its key, which is in a file of yours: before you replace it, publish the record of the next key (gatepost certificate tlsa FILE) beside this one, and wait two hours (DANE)."
	case k.State == hostkey.InUse:
		return "Other servers know this one by its key (DANE)."
	case k.State == hostkey.Wanted:
		return "This is the key of the next certificate, which is being asked for (DANE)."
	case k.Ready != nil && k.Due:
		return "The next key comes into use at " + k.Ready.UTC().Format(time.RFC3339) + ", since by then everybody knows it (DANE)."
	case k.Seen == nil && k.Due:
		return "The next key comes into use once the DNS has shown it for two TTLs (DANE)."
	case info.Change != nil:
		return "The next key is there before it comes into use, which is planned for " + info.Change.UTC().Format(time.DateOnly) + " (DANE)."
	}
	return "The next key is there before it comes into use (DANE)."
}

// RollKey has the next key of the host used as soon as it may be.
func RollKey(ctx context.Context, cfg *config.Config) error {
	op, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer op.Close()
	return op.Do(ctx, "certificate.roll", control.None{}, func(control.Item) error { return nil })
}

// HostKeys returns how the keys of the host's certificate stand.
func HostKeys(ctx context.Context, cfg *config.Config) (*control.HostInfo, error) {
	op, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer op.Close()
	var info control.HostInfo
	err = op.Do(ctx, "certificate.host", control.None{}, func(it control.Item) error {
		info, err = control.HostOf(it)
		return err
	})
	return &info, err
}

// RecordOf returns the TLSA record of the key in a file: a certificate or a
// private key in PEM.
func RecordOf(path string) (dane.Record, error) {
	content, err := settings.ReadFile(path)
	if err != nil {
		return dane.Record{}, err
	}
	block, _ := pem.Decode(content)
	switch {
	case block != nil && block.Type == "CERTIFICATE":
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return dane.Record{}, fmt.Errorf("%s: %w", path, err)
		}
		return dane.ForKey(c.PublicKey)
	case block != nil && block.Type == "EC PRIVATE KEY":
		key, err := x509.ParseECPrivateKey(block.Bytes)
		if err != nil {
			return dane.Record{}, fmt.Errorf("%s: the key in it cannot be read", path)
		}
		return dane.ForKey(key.Public())
	}
	key, err := keys.ReadSigner(path)
	if err != nil {
		return dane.Record{}, err
	}
	return dane.ForKey(key.Public())
}

// Certificate is one that the doors show.
type Certificate struct {
	Names  []string   `json:"names"`
	From   string     `json:"from"` // authority, file or self-signed
	Issuer string     `json:"issuer"`
	Since  *time.Time `json:"not_before"`
	Until  *time.Time `json:"not_after"`
	Key    string     `json:"key"`   // SHA-256 of the public key (SPKI), in hex
	Fault  string     `json:"fault"` // why it cannot be shown; empty: it is
}

// Certificates returns what the doors show: what an authority issued, and
// where it issued none for the host, the file's or the self-signed one.
func Certificates(ctx context.Context, cfg *config.Config) ([]Certificate, error) {
	op, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer op.Close()
	host, list := false, []Certificate{}
	err = op.Do(ctx, "certificate.list", control.None{}, func(it control.Item) error {
		var info control.CertificateInfo
		if err := json.Unmarshal(it.JSON, &info); err != nil {
			return err
		}
		c := Certificate{Names: []string{info.Name}, From: "authority", Fault: info.Fault}
		if info.DER != nil {
			if err := c.read(info.DER); err != nil {
				return err
			}
		}
		host = host || info.Name == cfg.Hostname && info.Fault == ""
		list = append(list, c)
		return nil
	})
	if err != nil || host {
		return list, err
	}
	k, err := keys.Look(datadir.Keys(cfg.DataDir()), settings.Keys(cfg, clock.System, slog.New(slog.DiscardHandler)))
	if err != nil || k.Certificate() == nil {
		return list, err
	}
	c := Certificate{From: "self-signed"}
	if cfg.TLS.Certificate != "" {
		c.From = "file"
	}
	err = c.read(k.Certificate().Raw)
	return append([]Certificate{c}, list...), err
}

// read takes what there is to say from a certificate.
func (c *Certificate) read(der []byte) error {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	key, err := dane.ForKey(leaf.PublicKey)
	if err != nil {
		return fmt.Errorf("the key of the certificate: %w", err)
	}
	since, until := leaf.NotBefore.UTC(), leaf.NotAfter.UTC()
	c.Names, c.Issuer, c.Since, c.Until, c.Key = leaf.DNSNames, leaf.Issuer.String(), &since, &until, hex.EncodeToString(key.Data)
	return nil
}
