package daemon

import (
	"errors"
	"log/slog"
	"path/filepath"
	"slices"

	"gatepost/internal/config"
	"gatepost/internal/confine"
	"gatepost/internal/daemon/datadir"
)

// systemPaths are what the system tells any program: resolvers, names of hosts
// and services, authorities, time zones, and what the process is itself.
var systemPaths = []string{
	"/etc", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/share/zoneinfo",
	"/run/systemd/resolve", "/run/resolvconf", "/proc", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage", "/dev/null", "/dev/urandom",
}

// reach returns what the server needs of the file system. A file stands for
// its directory, where it is replaced, and for that which it is a link into.
func reach(cfg *config.Config) confine.Paths {
	p := confine.Paths{Write: []string{cfg.DataDir()}, Read: append([]string{filepath.Dir(cfg.File())}, systemPaths...)}
	files := slices.Clone(cfg.Activity.Places)
	for _, path := range cfg.Files() {
		files = append(files, path)
	}
	for _, path := range files {
		path = cfg.Path(path)
		p.Read = append(p.Read, filepath.Dir(path))
		if to, err := filepath.EvalSymlinks(path); err == nil {
			p.Read = append(p.Read, filepath.Dir(to))
		}
	}
	return p
}

// confined gives up what the server does not need, if the configuration says
// so. Without it the server runs as well.
func confined(cfg *config.Config, log *slog.Logger) error {
	if !cfg.System.Landlock {
		return nil
	}
	if err := datadir.Prepare(cfg.DataDir()); err != nil {
		return err
	}
	if err := confine.To(reach(cfg)); errors.Is(err, confine.ErrNone) {
		log.Warn("this kernel has no Landlock, so that nothing but file modes keeps the server to its own files")
	} else if err != nil {
		log.Error("the server is not kept to its own files", "error", err)
	}
	return nil
}
