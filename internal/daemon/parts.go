package daemon

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/backup"
	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/console"
	"gatepost/internal/control"
	"gatepost/internal/courier"
	"gatepost/internal/daemon/datadir"
	"gatepost/internal/daemon/guard"
	"gatepost/internal/daemon/programs"
	"gatepost/internal/daemon/protect"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/envelope"
	"gatepost/internal/forward"
	"gatepost/internal/hostkey"
	"gatepost/internal/inspect"
	"gatepost/internal/keys"
	"gatepost/internal/local"
	"gatepost/internal/mailbox"
	"gatepost/internal/moment"
	"gatepost/internal/outbound"
	"gatepost/internal/proof"
	"gatepost/internal/queue"
	"gatepost/internal/remote"
	"gatepost/internal/reputation"
	"gatepost/internal/resolve"
	"gatepost/internal/signing"
	"gatepost/internal/spool"
	"gatepost/internal/store"
	"gatepost/internal/transport"
	"gatepost/internal/witness"
)

// parts are everything but the doors, opened from the ground up.
type parts struct {
	cfg   *config.Config
	log   *slog.Logger
	clock clock.Clock

	keys      *keys.Keys
	db        *store.DB
	guard     *guard.Guard
	blobs     *blob.Dir
	programs  *programs.Programs
	directory *account.Directory
	boxes     *mailbox.Boxes
	resolver  *resolve.Client
	spool     *spool.Spool
	found     []string // by the spool, when it was opened
	local     *local.Local
	signing   *signing.Ring
	host      *hostkey.Host
	issued    func() []*x509.Certificate // chain that an authority issued for the host, and that the doors show; may be nil
	returns   *forward.Returns
	router    *router
	remote    deliverer
	queue     *queue.Queue
	meter     meter

	protection *protect.Protection
	reputation *reputation.Book
	witness    *witness.Witness
	courier    *courier.Courier

	closers []func() error // in the order of opening
}

// open opens the parts of a data directory, whose lock the caller holds.
// capture, if it is not null, is the account that gets what would leave.
func open(ctx context.Context, cfg *config.Config, log *slog.Logger, capture addr.Address) (*parts, error) {
	p := &parts{cfg: cfg, log: log, clock: clock.System, meter: newMeter()}
	for _, step := range []func(context.Context) error{
		p.openKeys, p.openStore, p.openGuard, p.openGrants, p.openDirectory, p.openMailboxes, p.openResolver, p.openHostKey, p.openSigning, p.openSpool, p.openProtection, p.openRemote,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	if err := p.openQueue(ctx, capture); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// onClose adds a step to close.
func (p *parts) onClose(f func() error) { p.closers = append(p.closers, f) }

// close closes the parts in the reverse order of opening.
func (p *parts) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

func (p *parts) openKeys(context.Context) (err error) {
	p.keys, err = keys.Open(datadir.Keys(p.cfg.DataDir()), settings.Keys(p.cfg, p.clock, p.log))
	return err
}

func (p *parts) openStore(ctx context.Context) (err error) {
	p.db, err = store.Open(ctx, store.Options{Path: datadir.Store(p.cfg.DataDir()), Log: p.log})
	if err == nil {
		p.onClose(p.db.Close)
	}
	return err
}

func (p *parts) openGuard(context.Context) error {
	p.guard = guard.New(guard.Options{
		Store: p.db, Clock: p.clock, Log: p.log, Random: rand.Reader, Hostname: p.hostname(),
	})
	p.guard.Set(guardSettings(p.cfg))
	p.onClose(p.guard.Close)
	return nil
}

func guardSettings(cfg *config.Config) guard.Settings {
	s := guard.Settings{Kept: time.Duration(cfg.Activity.Kept), LockURL: settings.LockURL(cfg)}
	for _, file := range cfg.Activity.Places {
		s.Places = append(s.Places, cfg.Path(file))
	}
	return s
}

func (p *parts) openDirectory(ctx context.Context) error {
	l := p.cfg.Limits
	p.directory = account.New(p.db, p.keys, account.Options{
		Hostname: p.hostname(), Origins: settings.Origins(p.cfg), Clock: p.clock, Random: rand.Reader, Log: p.log,
		HashRuns: l.PasswordHashes, ScramForPasswords: l.ScramForPasswords, Passwords: settings.Passwords(p.cfg),
		Quota: int64(l.Quota), SendLimit: l.SendingPerDay,
		Activity: console.Watched{Book: p.guard.Book}, Tokens: p.tokens(),
	})
	p.directory.SetFactorRoles(settings.FactorRoles(p.cfg))
	p.guard.Account, p.guard.AddressOf, p.guard.Lock = p.directory.Account, p.directory.AddressOf, p.directory.Lock
	p.onClose(func() error { p.directory.Close(); return nil })
	return p.directory.LoadAuthorities(ctx)
}

func (p *parts) openMailboxes(context.Context) (err error) {
	p.blobs, err = blob.OpenDir(datadir.Blobs(p.cfg.DataDir()))
	if err != nil {
		return err
	}
	p.boxes = mailbox.New(p.db, p.blobs, p.clock, rand.Reader)
	p.reputation = reputation.New(reputation.Options{
		DB: p.db, Clock: p.clock, Log: p.log, Hostname: p.hostname(), IsOwn: p.directory.IsLocal,
	})
	p.local = local.New(local.Options{Directory: p.directory, Boxes: p.boxes, Reports: p.reputation, Clock: p.clock, Log: p.log})
	p.onClose(func() error { p.local.Close(); return nil })
	return nil
}

func (p *parts) openResolver(context.Context) error {
	o, err := settings.Resolver(p.cfg, p.clock)
	if err != nil {
		return err
	}
	p.resolver = resolve.New(o)
	return nil
}

func (p *parts) openSigning(ctx context.Context) (err error) {
	p.signing, err = signing.Open(ctx, signing.Options{
		Store: p.db, Keys: p.keys, Resolver: p.resolver, Clock: p.clock, Log: p.log,
		Domains: p.sendingDomains, QueueLife: time.Duration(p.cfg.Limits.QueueLifetime),
	})
	p.returns = forward.New(forward.Options{Store: p.db, Keys: p.keys, Clock: p.clock, Log: p.log})
	return err
}

// sendingDomains returns the domains of ours that are not parked.
func (p *parts) sendingDomains(ctx context.Context) (list []addr.Domain, err error) {
	all, err := p.directory.Domains(ctx)
	for _, d := range all {
		if !d.Parked {
			list = append(list, d.Name)
		}
	}
	return list, err
}

func (p *parts) openSpool(context.Context) (err error) {
	o := settings.Spool(p.cfg)
	o.FS, o.Blobs, o.Clock, o.Random, o.Log, o.Observe = blob.OS, p.blobs, p.clock, rand.Reader, p.log, p.meter.commit
	var report *spool.Report
	if p.spool, report, err = spool.Open(o); err != nil {
		return err
	}
	p.found = report.Findings
	p.onClose(p.spool.Close)
	return nil
}

// openProtection makes what decides how mail leaves.
func (p *parts) openProtection(context.Context) error {
	settings, err := protection(p.cfg)
	if err != nil {
		return err
	}
	p.protection = protect.New(protect.Options{
		Store: p.db, Resolver: p.resolver, Clock: p.clock, Log: p.log, Settings: settings,
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) { return dial(ctx, netip.Addr{}, to) },
	})
	p.onClose(p.protection.Close)
	p.witness = witness.New(witness.Options{DB: p.db, Clock: p.clock, Log: p.log})
	p.onClose(func() error { return p.witness.Flush(context.Background()) })
	p.courier = courier.New(courier.Options{
		DB: p.db, Tally: proof.Sums{DB: p.db}, Mail: p.witness, Resolver: p.resolver, Clock: p.clock, Log: p.log, Random: rand.Reader,
		Hostname: p.hostname(), Post: p.protection.Post,
		Sender: func() addr.Domain { return p.signing.Sender(p.hostname()) },
		Submit: func(ctx context.Context, e *envelope.Envelope, write func(io.Writer) error) error {
			return p.queue.SubmitSigned(ctx, e, write)
		},
	})
	p.onClose(p.courier.Close)
	p.setReports(p.cfg)
	p.setHooks(p.cfg)
	return nil
}

// setReports takes what a configuration says of reports to other domains.
func (p *parts) setReports(cfg *config.Config) {
	p.courier.Set(courier.Settings{TLS: cfg.Reports.TLS, DMARC: cfg.Reports.DMARC})
}

// protection returns what a configuration says of it.
func protection(cfg *config.Config) (protect.Settings, error) {
	floor, err := transport.ParseLevel(cfg.Remote.TLS)
	if err != nil {
		return protect.Settings{}, err
	}
	roots, err := settings.Roots(cfg.Path(cfg.TLS.Roots))
	return protect.Settings{Private: cfg.Remote.Private, IPv6: cfg.Remote.IPv6, Floor: floor, Roots: roots}, err
}

// openRemote makes the sender to other servers and the router that knows
// what goes to it.
func (p *parts) openRemote(context.Context) error {
	p.router = &router{directory: p.directory, hostname: p.hostname(), log: p.log}
	if err := p.setRemote(p.cfg); err != nil {
		return err
	}
	p.onClose(func() error { p.remote.now.Load().Close(); return nil })
	return nil
}

// setRemote takes the routes and the like of a configuration, at the start
// and again after SIGHUP.
func (p *parts) setRemote(cfg *config.Config) error {
	settings, err := protection(cfg)
	if err != nil {
		return err
	}
	sender, err := newSender(cfg, p, settings.Roots)
	if err != nil {
		return err
	}
	p.protection.Set(settings)
	p.router.setRoutes(cfg.Route)
	if old := p.remote.now.Swap(sender); old != nil {
		old.Close()
	}
	return nil
}

func newSender(cfg *config.Config, p *parts, roots *x509.CertPool) (*remote.Sender, error) {
	var routes []remote.Route
	seen := map[string]bool{}
	for _, r := range cfg.Route {
		route, err := newRoute(cfg, r)
		if err != nil {
			return nil, err
		}
		if !seen[route.Name] {
			seen[route.Name] = true
			routes = append(routes, route)
		}
	}
	l := cfg.Limits
	return remote.New(remote.Options{
		Hostname: cfg.Hostname, Resolver: p.resolver, Clock: p.clock, Log: p.log,
		Dial: dial, Pick: mathrand.IntN,
		Routes: routes, Policy: p.protection.Engine, Proofs: p.protection.Book, Roots: roots, Port: settings.SMTPPort,
		Private: cfg.Remote.Private, Sources: cfg.Remote.Sources, IPv6: cfg.Remote.IPv6,
		OwnNames: []string{cfg.Hostname}, OwnAddrs: settings.OwnAddrs(cfg),
		ConnectTimeout: connectTime, FindTimeout: findTime,
		IdleTime: time.Duration(l.IdleTime), IdlePerDestination: l.RouteConnections, IdleTotal: l.IdleConnections,
	})
}

// Bounds of finding a host that answers.
const (
	connectTime = 30 * time.Second
	findTime    = 5 * time.Minute // RFC 5321, section 4.5.3.2.1, for all of its addresses
)

func newRoute(cfg *config.Config, r config.Route) (remote.Route, error) {
	level, err := transport.ParseLevel(r.TLS)
	if err != nil {
		return remote.Route{}, err
	}
	route := remote.Route{Name: routeName(r), Via: r.Via, TLS: level, TLSName: r.TLSName, User: r.User}
	if r.PasswordFile != "" {
		path := cfg.Path(r.PasswordFile)
		route.Password = func() (string, error) { return settings.ReadPassword(path) }
	}
	return route, nil
}

// dial opens a TCP connection from a source address, if one is given.
func dial(ctx context.Context, source netip.Addr, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return d.DialContext(ctx, "tcp", to.String())
}

// youngPerCPU is how many deliveries to other servers may have just begun, for
// each processor: enough to keep it busy while some of them wait.
const youngPerCPU = 4

// openQueue puts the queue between spool and deliverers. It attempts nothing
// before it is started.
func (p *parts) openQueue(ctx context.Context, capture addr.Address) error {
	var next outbound.Deliverer = &p.remote
	if !capture.IsNull() {
		next = p.local.Capture(capture)
	}
	away := outbound.New(outbound.Options{
		Next: next, Keys: p.signing, Returns: p.returns, IsLocal: p.directory.IsLocal, Hostname: p.hostname(), Clock: p.clock, Log: p.log,
	})
	l := p.cfg.Limits
	p.queue = queue.New(queue.Options{
		Spool: queueSpool{p.spool}, Router: p.router, Local: p.local, Remote: away, Expand: p.directory.Resolve,
		Begin: p.signing.Begin, Ended: p.courier.Ended,
		Clock: p.clock, Log: p.log, Random: rand.Reader,
		Hostname: p.hostname(), Postmaster: addr.Address{Local: "postmaster", Domain: p.hostname()},
		Lifetime: time.Duration(l.QueueLifetime), DelayNotice: time.Duration(l.DelayNotice), KeptFor: time.Duration(l.FailedKept),
		RemoteWorkers: l.RemoteDeliveries, RemoteYoung: youngPerCPU * runtime.GOMAXPROCS(0), LocalWorkers: l.LocalDeliveries, PerDestination: l.RouteConnections,
	})
	if err := p.directory.SetOutbox(ctx, p.queue); err != nil {
		return err
	}
	p.spool.Serve(p.queue.Offer)
	p.guard.Submit = func(ctx context.Context, e *envelope.Envelope, write func(io.Writer) error) error {
		return p.queue.Submit(ctx, e, write)
	}
	return nil
}

func (p *parts) hostname() addr.Domain { return addr.Domain(p.cfg.Hostname) }

// handle carries out what operators ask for.
func (p *parts) handle() control.Handler { return p.guard.Handle(p.programs.Handle(p.desk().Do)) }

// desk returns the operator's desk over the parts.
func (p *parts) desk() *control.Desk {
	all := moment.Parts{DB: p.db, Spool: p.spool, Blobs: p.blobs}
	return &control.Desk{
		Directory: p.directory, Boxes: p.boxes, Queue: p.queue, Signing: p.signing, Promise: p.promise,
		Proofs: p.protection.Book, Forget: p.protection.Forget, Reports: p.reputation, Courier: p.courier,
		Certificates: p.kept, Host: p.host,
		Inspect: &inspect.Running{Parts: all, Boxes: p.boxes, Keys: p.keys, Authority: p.cfg.TLS.ACME, Told: p.found},
		Backup:  &backup.Source{Parts: all, Keys: p.keys, Hostname: p.cfg.Hostname, Clock: p.clock, Config: func() (*backup.Config, error) { return settings.Saved(p.cfg) }},
	}
}

// queueSpool is the spool as the queue wants it.
type queueSpool struct{ *spool.Spool }

func (s queueSpool) Create() queue.Draft { return s.Spool.Create() }
