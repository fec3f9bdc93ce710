package listen

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
)

// fromSystemd begins the address of a socket that systemd hands over under
// the name that follows (FileDescriptorName= in its unit).
const fromSystemd = "systemd:"

// Sockets opens listeners. It has those that systemd handed over.
type Sockets struct {
	given map[string][]net.Listener
}

// Activated takes over the sockets that systemd has opened for this process,
// if any, and clears the environment that told of them, so that no child
// takes them for its own. It is to be called once, at the start.
func Activated() (*Sockets, error) {
	given, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("taking over sockets from systemd: %w", err)
	}
	return &Sockets{given}, nil
}

// Open returns listeners for addresses: "host:port", or "systemd:NAME" for
// every socket of that name. After an error none is left open, but for those
// of systemd.
func (s *Sockets) Open(ctx context.Context, addresses []string) ([]net.Listener, error) {
	var list, opened []net.Listener
	for _, a := range addresses {
		if name, ok := strings.CutPrefix(a, fromSystemd); ok {
			if len(s.given[name]) == 0 {
				closeAll(opened)
				return nil, fmt.Errorf("systemd has handed over no socket named %q", name)
			}
			list = append(list, s.given[name]...)
			delete(s.given, name)
			continue
		}
		// Phase timeouts find a dead client sooner than keep-alives would,
		// and a short connection has no use for the system calls to set them.
		l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(ctx, "tcp", a)
		if err != nil {
			closeAll(opened)
			return nil, err
		}
		list, opened = append(list, l), append(opened, l)
	}
	return list, nil
}

// Unused returns the names of sockets that systemd handed over and nobody
// has opened: clients can connect to them and would wait in vain.
func (s *Sockets) Unused() []string {
	var names []string
	for name := range s.given {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func closeAll(list []net.Listener) {
	for _, l := range list {
		_ = l.Close()
	}
}
