package operate

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"slices"

	"gatepost/internal/account"
	"gatepost/internal/acme"
	"gatepost/internal/audit"
	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon/datadir"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/inspect"
	"gatepost/internal/keys"
	"gatepost/internal/resolve"
	"gatepost/internal/spool"
	"gatepost/internal/store"
)

// Check looks at the whole server, but not into what it stores.
func Check(ctx context.Context, cfg *config.Config) ([]audit.Finding, error) {
	op, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer op.Close()
	return checkSurface(ctx, cfg, op, false)
}

// CheckDeep is Check and reads all that is stored, through the running server
// or without one. It changes nothing. progress is told how many octets of how
// many were read.
func CheckDeep(ctx context.Context, cfg *config.Config, progress func(done, total int64)) ([]audit.Finding, error) {
	if err := datadir.Prepare(cfg.DataDir()); err != nil {
		return nil, err
	}
	held, err := datadir.Lock(cfg.DataDir())
	if errors.Is(err, datadir.ErrLocked) {
		return checkRunning(ctx, cfg, progress)
	}
	if err != nil {
		return nil, err
	}
	defer held.Close()
	return checkStopped(ctx, cfg, progress)
}

func checkRunning(ctx context.Context, cfg *config.Config, progress func(done, total int64)) ([]audit.Finding, error) {
	op := &Operator{socket: datadir.Socket(cfg.DataDir())}
	list, err := checkSurface(ctx, cfg, op, true)
	if err != nil {
		return nil, err
	}
	err = op.Do(ctx, "check.deep", control.None{}, func(it control.Item) error {
		var c control.Checked
		if err := json.Unmarshal(it.JSON, &c); err != nil {
			return err
		}
		if c.Finding != nil {
			list = append(list, *c.Finding)
		} else {
			progress(c.Done, c.Total)
		}
		return nil
	})
	return list, err
}

// checkSurface looks at all but the data; whole reads the list of breached
// passwords to its end.
func checkSurface(ctx context.Context, cfg *config.Config, op *Operator, whole bool) ([]audit.Finding, error) {
	domains, err := ourDomains(ctx, cfg, op)
	for i := range domains {
		err = errors.Join(err, addKeys(ctx, op, &domains[i]))
	}
	if err != nil {
		return nil, err
	}
	k, err := keys.Look(datadir.Keys(cfg.DataDir()), settings.Keys(cfg, clock.System, slog.New(slog.DiscardHandler)))
	if err != nil {
		k = nil // a server that runs has told; one that starts will
	}
	self, err := newSelf(cfg, op.Running(), domains, k)
	if err != nil {
		return nil, err
	}
	if err := issued(ctx, op, self); err != nil {
		return nil, err
	}
	if self.TLSA, err = hostTLSA(ctx, cfg, op); err != nil {
		return nil, err
	}
	self.TLSA.Judge(ctx, self.Resolver)
	old, err := checkRunsOut(ctx, op)
	if err != nil {
		return nil, err
	}
	orphaned, err := checkPasskeys(ctx, cfg, op)
	if err != nil {
		return nil, err
	}
	return slices.Concat(self.Check(ctx), checkUpdater(cfg), checkLists(cfg, whole), old, orphaned), nil
}

// issued tells of the certificates that an authority issued.
func issued(ctx context.Context, op *Operator, self *audit.Self) error {
	return op.Do(ctx, "certificate.list", control.None{}, func(it control.Item) error {
		var info control.CertificateInfo
		if err := json.Unmarshal(it.JSON, &info); err != nil || info.Fault != "" {
			return err
		}
		c, err := x509.ParseCertificate(info.DER)
		if err == nil {
			addIssued(self, info.Name, c)
		}
		return err
	})
}

// addIssued puts a certificate that an authority issued for the host in the
// place of our own, and one for another name beside it.
func addIssued(self *audit.Self, name string, c *x509.Certificate) {
	if name == string(self.Site.Hostname) {
		self.Certificate, self.SelfSigned = c, false
		return
	}
	self.Others = append(self.Others, c)
}

// checkUpdater says whether records could be changed in the DNS.
func checkUpdater(cfg *config.Config) []audit.Finding {
	if _, err := settings.Updater(cfg); err != nil {
		return []audit.Finding{{Check: "dns.update", Level: audit.Failure, Text: "Nothing can be changed in the DNS: " + err.Error() + ".",
			Fix: "Put the key that the name server knows into the file, in base64, or take update out of [dns]."}}
	}
	return nil
}

// newSelf returns this server as the check looks at it. Without keys it has no
// certificate.
func newSelf(cfg *config.Config, running bool, domains []audit.Domain, k *keys.Keys) (*audit.Self, error) {
	o, err := settings.Resolver(cfg, clock.System)
	if err != nil {
		return nil, err
	}
	self := &audit.Self{
		Site: site(cfg), DataDir: cfg.DataDir(), Running: running, Domains: domains,
		Resolver: resolve.New(o), Dial: (&net.Dialer{}).DialContext, Listen: net.Listen, Clock: clock.System,
	}
	for _, d := range settings.Doors {
		for _, a := range d.Addresses(&cfg.Listen) {
			self.Doors = append(self.Doors, audit.Door{Name: d.Key, Address: a})
		}
	}
	for name, list := range map[string][]string{"https": cfg.Listen.HTTPS, "http": cfg.Listen.HTTP} {
		for _, a := range list {
			self.Doors = append(self.Doors, audit.Door{Name: name, Address: a})
		}
	}
	for _, r := range cfg.Route {
		if r.Domain == "*" {
			self.Smarthost = r.Via
		}
	}
	if k != nil {
		self.Certificate, self.KeyWarnings = k.Certificate(), k.Warnings()
		self.SelfSigned = cfg.TLS.Certificate == ""
	}
	self.Authority = cfg.TLS.ACME != ""
	return self, nil
}

// checkStopped reads the data of a server that does not run, whose lock is
// held, and opens nothing for writing.
func checkStopped(ctx context.Context, cfg *config.Config, progress func(done, total int64)) (list []audit.Finding, err error) {
	found := func(f audit.Finding) { list = append(list, f) }
	k, err := keys.Look(datadir.Keys(cfg.DataDir()), settings.Keys(cfg, clock.System, slog.New(slog.DiscardHandler)))
	if err != nil {
		found(audit.Finding{Check: "keys", Level: audit.Failure, Text: "The keys cannot be read: " + err.Error() + ".",
			Fix: "Put the directory keys, or what the configuration names, back from a backup."})
		k = nil
	}
	db, err := store.Look(ctx, datadir.Store(cfg.DataDir()))
	if err == nil {
		defer db.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		found(audit.Finding{Check: "store", Level: audit.Failure, Text: "The store cannot be read: " + err.Error() + ".",
			Fix: "If it is older or newer than this program, run the right one; if it is damaged, restore a backup."})
	}
	var domains []audit.Domain
	if db != nil {
		list, err := account.Domains(db)
		if err != nil {
			found(audit.Finding{Check: "store", Level: audit.Failure, Text: "The domains cannot be read: " + err.Error() + ".", Fix: "Restore a backup."})
		}
		for _, d := range list {
			domains = append(domains, audit.Domain{Name: d.Name, Parked: d.Parked})
		}
		sites, err := account.PasskeySites(db)
		if err != nil {
			found(audit.Finding{Check: "store", Level: audit.Failure, Text: "The passkeys cannot be read: " + err.Error() + ".", Fix: "Restore a backup."})
		}
		for _, f := range orphaned(cfg, sites) {
			found(f)
		}
	}
	self, err := newSelf(cfg, false, domains, k)
	if err != nil {
		return nil, err
	}
	if err := addKept(ctx, cfg, self, db, k); err != nil {
		return nil, err
	}
	list = slices.Concat(self.Check(ctx), checkLists(cfg, true), list)
	return list, look(ctx, cfg, db, k, progress, found)
}

// addKept tells of the certificates that a server which does not run keeps,
// and of its keys. Those that cannot be shown are told of by the deep part.
func addKept(ctx context.Context, cfg *config.Config, self *audit.Self, db *store.Snapshot, k *keys.Keys) (err error) {
	if k == nil {
		return nil
	}
	chain := k.Chain()
	if db != nil && cfg.TLS.ACME != "" {
		list, err := acme.List(db.View, k, cfg.TLS.ACME)
		if err != nil {
			return nil // the deep part says so
		}
		for _, kept := range list {
			if kept.Fault == nil {
				addIssued(self, kept.Name, kept.Chain[0])
			}
		}
		if c := acme.ChainOf(list, cfg.Hostname); c != nil {
			chain = c
		}
	}
	if self.TLSA, err = keptTLSA(cfg, k, chain); self.TLSA != nil {
		self.TLSA.Judge(ctx, self.Resolver)
	}
	return err
}

// look does the deep part of a check without a server.
func look(ctx context.Context, cfg *config.Config, db *store.Snapshot, k *keys.Keys, progress func(done, total int64), found func(audit.Finding)) error {
	blobs, err := blob.OpenDirOn(blob.Frozen(blob.OS), datadir.Blobs(cfg.DataDir()))
	if err != nil {
		return err
	}
	o := settings.Spool(cfg)
	o.FS, o.Blobs, o.Clock, o.Random, o.Log = blob.OS, blobs, clock.System, rand.Reader, slog.New(slog.DiscardHandler)
	messages, report, err := spool.Look(o)
	if err != nil {
		found(audit.Finding{Check: "spool", Level: audit.Failure, Text: "The spool cannot be read: " + err.Error() + ".", Fix: "Look at the health of the disk, or restore a backup."})
		return nil
	}
	defer messages.Close()
	files, err := inspect.List(blobs)
	if err != nil {
		return err
	}
	t := &inspect.Things{
		Store: db, Spool: messages, Told: slices.Clone(report.Findings), Blobs: blobs, Keys: k, Authority: cfg.TLS.ACME, Files: files,
		Orphan: func(context.Context, string) (bool, error) { return true, nil },
	}
	return t.Check(ctx, progress, found)
}
