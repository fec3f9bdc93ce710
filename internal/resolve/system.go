package resolve

import (
	"bufio"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of the list of servers.
const (
	maxServers = 8
	maxConf    = 64 << 10 // octets of resolv.conf that are read
	// confAge is how old our knowledge of resolv.conf may be before its time
	// of change is looked at again.
	confAge = 5 * time.Second
	// preferFor is how long the server that answered is asked first, so that
	// a dead one before it costs its patience only once in a while.
	preferFor = 30 * time.Second
)

// System reads the servers that a file in the form of resolv.conf names; a
// file that is missing or names none means the one on this machine.
func System(path string) ([]netip.AddrPort, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return parseConf(strings.NewReader("")), nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseConf(io.LimitReader(f, maxConf)), nil
}

// parseConf reads resolv.conf(5); what it does not know it skips, as every
// other resolver does.
func parseConf(r io.Reader) []netip.AddrPort {
	var list []netip.AddrPort
	for lines := bufio.NewScanner(r); lines.Scan() && len(list) < maxServers; {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a, 53))
		}
	}
	if len(list) == 0 {
		list = append(list, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53))
	}
	return list
}

// servers knows whom to ask, and in which order.
type servers struct {
	fixed []netip.AddrPort // configured; else those of path
	path  string

	mu       sync.Mutex
	system   []netip.AddrPort
	changed  time.Time // when path was changed, as far as we know
	checked  time.Time // when we last looked
	first    netip.AddrPort
	firstEnd time.Time // until when first is asked first
}

// list returns the servers in the order in which they are to be asked.
func (s *servers) list(now time.Time) ([]netip.AddrPort, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.fixed
	if len(list) == 0 {
		if err := s.read(now); err != nil {
			return nil, err
		}
		list = s.system
	}
	if i := slices.Index(list, s.first); i > 0 && now.Before(s.firstEnd) {
		list = slices.Insert(slices.Delete(slices.Clone(list), i, i+1), 0, s.first)
	}
	return list, nil
}

// read takes the servers from the file if it may have changed; s.mu is held.
func (s *servers) read(now time.Time) error {
	if s.system != nil && now.Sub(s.checked) < confAge && !now.Before(s.checked) {
		return nil
	}
	var changed time.Time
	if info, err := os.Stat(s.path); err == nil {
		changed = info.ModTime()
	}
	s.checked = now
	if s.system != nil && changed.Equal(s.changed) {
		return nil
	}
	list, err := System(s.path)
	if err != nil && s.system == nil {
		return err
	}
	if err == nil {
		s.system, s.changed = list, changed
	}
	return nil
}

// prefer remembers the server that answered.
func (s *servers) prefer(a netip.AddrPort, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first != a || !now.Before(s.firstEnd) {
		s.first, s.firstEnd = a, now.Add(preferFor)
	}
}

// forget makes the next list read the file.
func (s *servers) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.system, s.first = nil, netip.AddrPort{}
}
