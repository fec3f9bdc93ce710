package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"

	"gatepost/internal/acme"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/console"
	"gatepost/internal/control"
	"gatepost/internal/daemon/datadir"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/listen"
	"gatepost/internal/signing"
	"gatepost/internal/web"
)

// Server is a running server.
type Server struct {
	cfg   *config.Config
	log   *slog.Logger
	lines *logWriter

	lock    *os.File
	parts   *parts
	sockets *listen.Sockets
	bounds  *listen.Bounds
	doors   []*listen.Door
	certs   *acme.Certificates // nil: they come from elsewhere
	poke    chan struct{}      // has them looked after at once
	console *console.Console
	pages   []*web.Server // behind the doors of HTTP
	web     *web.Server   // of the metrics
	control *control.Server

	mu      sync.Mutex    // one reload at a time; guards what follows
	history []*generation // every one since the start, for their counters and their sessions
	now     atomic.Pointer[generation]

	background context.Context // of what goes on beside the doors
	stop       context.CancelFunc
	chores     sync.WaitGroup
	rest       func() // ends the watch over memory
}

// Options are what differs between serve and try.
type Options struct {
	Log     io.Writer
	Capture addr.Address // not null: gets what would leave
}

// Serve runs a server until ctx ends, then drains it. reload tells of each
// SIGHUP.
func Serve(ctx context.Context, cfg *config.Config, log io.Writer, reload <-chan os.Signal) error {
	if err := confined(cfg, slog.New(slog.NewTextHandler(log, nil))); err != nil {
		return err
	}
	s, err := Start(ctx, cfg, Options{Log: log})
	if err != nil {
		return err
	}
	s.tell(sd.SdNotifyReady)
	for {
		select {
		case <-ctx.Done():
			s.tell(sd.SdNotifyStopping)
			return s.Drain()
		case <-reload:
			s.tell(sd.SdNotifyReloading + fmt.Sprintf("\nMONOTONIC_USEC=%d", monotonic()))
			s.reload()
			s.tell(sd.SdNotifyReady)
		}
	}
}

// tell tells systemd; without systemd it does nothing.
func (s *Server) tell(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		s.log.Warn("cannot tell systemd", "state", state, "error", err)
	}
}

// Start opens everything in order; what it opened is closed again after an
// error.
func Start(ctx context.Context, cfg *config.Config, o Options) (*Server, error) {
	lines := newLogWriter(o.Log, clock.System)
	s := &Server{cfg: cfg, lines: lines, log: slog.New(slog.NewTextHandler(lines, nil))}
	s.background, s.stop = context.WithCancel(context.Background())
	for _, step := range []func(context.Context) error{
		s.takeLock,
		func(ctx context.Context) (err error) {
			s.parts, err = open(ctx, cfg, s.log, o.Capture)
			return err
		},
		func(ctx context.Context) error { return s.parts.directory.Recall(ctx) },
		s.recoverMail, s.openCertificates, s.openControl, s.openConsole, s.openOAuth, s.openDoors, s.openMetrics,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	s.parts.queue.Start()
	s.tendCertificates()
	s.sweep()
	s.chores.Go(func() { s.parts.protection.Tend(s.background) })
	s.chores.Go(func() { s.parts.guard.Tend(s.background) })
	s.chores.Go(func() {
		clock.Repeat(s.background, s.parts.clock, signing.Every, func(ctx context.Context) {
			if err := s.parts.signing.Tend(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("the keys that mail is signed with could not be seen to", "error", err)
			}
		})
	})
	s.chores.Go(func() { s.parts.reputation.Tend(s.background) })
	s.chores.Go(func() { s.parts.witness.Tend(s.background) })
	s.chores.Go(func() { s.parts.courier.Tend(s.background) })
	s.chores.Go(func() { s.parts.returns.Tend(s.background) })
	s.rest = (&calm{clock: s.parts.clock, work: s.work, free: freeMemory}).watch()
	s.log.Info("gatepost is up", "hostname", cfg.Hostname, "listening", strings.Join(s.Addresses(), " "))
	return s, nil
}

func (s *Server) takeLock(context.Context) (err error) {
	if err := datadir.Prepare(s.cfg.DataDir()); err != nil {
		return err
	}
	s.lock, err = datadir.Lock(s.cfg.DataDir())
	if errors.Is(err, datadir.ErrLocked) {
		return fmt.Errorf("a server is running already on %s", s.cfg.DataDir())
	}
	return err
}

// recoverMail removes what the mailboxes remember of messages that are
// settled. It comes before the queue delivers anything. On a full disk it
// fails; that must not keep the server down, which would not come up by itself
// when there is room again. What stays costs a little room until the next
// start.
func (s *Server) recoverMail(ctx context.Context) error {
	if err := s.parts.boxes.Prune(ctx, s.parts.spool.Live); err != nil {
		s.log.Error("cannot prune what the mailboxes remember", "error", err)
	}
	return ctx.Err()
}

// sweep removes, beside the work, files that a crash left without an owner.
func (s *Server) sweep() {
	s.chores.Go(func() {
		swept, err := s.parts.boxes.Sweep(s.background)
		if err != nil && s.background.Err() == nil {
			s.log.Error("cannot sweep the mailboxes", "error", err)
		} else if swept.Files+swept.Mailboxes > 0 {
			s.log.Info("swept the mailboxes", "files", swept.Files, "mailboxes", swept.Mailboxes)
		}
	})
}

func (s *Server) openControl(context.Context) (err error) {
	s.control, err = control.Listen(datadir.Socket(s.cfg.DataDir()), s.parts.handle(), s.parts.clock, s.log)
	if err == nil {
		s.chores.Go(func() { s.control.Serve(s.background) })
	}
	return err
}

// openDoors opens the sockets of SMTP and HTTP, all before the first
// connection is taken, and warns of doors that nobody stands behind yet.
func (s *Server) openDoors(ctx context.Context) error {
	g, err := s.newGeneration(s.cfg)
	if err != nil {
		return err
	}
	s.adopt(g)
	s.parts.directory.OnEnd(s.endSessions)
	for _, w := range s.parts.keys.Warnings() {
		s.log.Warn(w)
	}
	if s.cfg.TLS.Certificate == "" && s.cfg.TLS.ACME == "" {
		s.log.Warn("the certificate is self-signed: other servers encrypt to it without knowing whom they talk to, and mail clients ask their users; set acme, or certificate and key, under [tls]")
	}
	s.bounds = listen.NewBounds(connectionLimits(s.cfg))
	if s.sockets, err = listen.Activated(); err != nil {
		return err
	}
	ready, err := s.openSockets(ctx)
	if err != nil {
		for _, opened := range ready {
			for _, ln := range opened.Listeners {
				ln.Close()
			}
		}
		return err
	}
	for _, o := range ready {
		if len(o.Listeners) > 0 {
			s.doors = append(s.doors, listen.Open(o))
		}
	}
	for name, list := range map[string][]string{"imaps": s.cfg.Listen.IMAPS, "imap": s.cfg.Listen.IMAP} {
		if len(list) > 0 {
			s.log.Warn("this door is not built yet and stays closed", "listen", name, "addresses", strings.Join(list, " "))
		}
	}
	return nil
}

// openSockets returns the doors with their sockets, also those before an
// error.
func (s *Server) openSockets(ctx context.Context) (ready []listen.Options, err error) {
	for _, d := range settings.Doors {
		o, err := s.door(ctx, d)
		if err != nil {
			return ready, err
		}
		ready = append(ready, o)
	}
	for _, d := range s.webDoors() {
		o, err := s.webDoor(ctx, d)
		if err != nil {
			return ready, err
		}
		ready = append(ready, o)
	}
	return ready, nil
}

func (s *Server) openMetrics(ctx context.Context) error {
	listeners, err := s.sockets.Open(ctx, s.cfg.Listen.Metrics)
	if err != nil {
		return fmt.Errorf("cannot listen for metrics: %w", err)
	}
	if unused := s.sockets.Unused(); len(unused) > 0 {
		s.log.Warn("systemd handed over sockets that nothing in the configuration names", "names", strings.Join(unused, " "))
	}
	s.web = web.New(s.metrics(), s.log)
	for _, ln := range listeners {
		s.chores.Go(func() { s.web.Serve(ln) })
	}
	return nil
}

// Addresses returns where the doors are open, as "mx=127.0.0.1:25".
func (s *Server) Addresses() []string {
	var list []string
	for _, d := range s.doors {
		for _, a := range d.Addresses() {
			list = append(list, d.Name()+"="+a)
		}
	}
	slices.Sort(list)
	return list
}

// FlushLog writes what the log has gathered.
func (s *Server) FlushLog() { s.lines.flush() }

// Drain ends a running server: first the doors, then the sessions, then the
// deliveries, all within the time that the configuration gives.
func (s *Server) Drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.cfg.Limits.Drain))
	defer cancel()
	s.log.Info("draining")
	for _, d := range s.doors {
		d.Close()
	}
	var ending sync.WaitGroup
	s.mu.Lock()
	for _, g := range s.history {
		for _, server := range g.servers {
			ending.Go(func() { server.Shutdown(ctx) })
		}
	}
	s.mu.Unlock()
	for _, pages := range s.pages {
		ending.Go(func() { pages.Shutdown(ctx) })
	}
	ending.Go(func() { s.parts.queue.Stop(ctx) })
	ending.Wait()
	for _, d := range s.doors {
		d.Wait(ctx)
	}
	err := s.close()
	s.log.Info("stopped")
	s.lines.flush()
	return err
}

// close closes what is open, in the reverse order of start.
func (s *Server) close() error {
	var errs []error
	for _, d := range s.doors {
		d.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), webDrain)
	defer cancel()
	for _, pages := range s.pages {
		errs = append(errs, pages.Shutdown(ctx))
	}
	if s.web != nil {
		errs = append(errs, s.web.Shutdown(ctx))
	}
	s.stop()
	if s.rest != nil {
		s.rest()
	}
	if s.control != nil {
		errs = append(errs, s.control.Close())
	}
	s.chores.Wait()
	if s.certs != nil {
		errs = append(errs, s.certs.Close())
	}
	if s.parts != nil {
		errs = append(errs, s.parts.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	s.lines.flush()
	return errors.Join(errs...)
}

// webDrain is how long a request of HTTP may take to end at last.
const webDrain = time.Second
