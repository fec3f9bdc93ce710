package activity

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatepost/internal/store"
)

// Bounds of what is known of an account.
const (
	// KnownLife is how long something is usual after it was last seen.
	KnownLife = 180 * 24 * time.Hour
	// maxKnown bounds the names of each sort that are known of an account,
	// maxAddresses the addresses; what was seen longest ago makes room.
	maxKnown     = 200
	maxAddresses = 16
	// maxUsual bounds what Usual reads.
	maxUsual = 500_000
)

// The sorts of what is learned of an account.
const (
	countries = "country"
	networks  = "network"
	devices   = "device"
	addresses = "address" // as far as one client has it: an address or a /64
	oldTLS    = "old-tls" // devices that were told of as outdated
)

// habits are what is usual for an account: by sort and name, when it was last
// seen.
type habits map[string]map[string]int64

func readHabits(tx *store.Tx, owner int64) (habits, error) {
	rows, err := tx.Query(`SELECT sort, name, seen FROM activity_known WHERE owner = ?`, owner)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	h := habits{}
	for rows.Next() {
		var sort, name string
		var seen int64
		if err := rows.Scan(&sort, &name, &seen); err != nil {
			return nil, err
		}
		if h[sort] == nil {
			h[sort] = map[string]int64{}
		}
		h[sort][name] = seen
	}
	return h, rows.Err()
}

// knows reports whether something is usual.
func (h habits) knows(sort, name string) bool {
	_, known := h[sort][name]
	return known
}

// lesson is something that became usual, and what it made room for, if
// anything.
type lesson struct{ sort, name, instead string }

// learn makes something usual; where too much is, what was seen longest ago
// makes room. The lessons are what is to be written down.
func (h habits) learn(sort, name string, now time.Time) (l lesson) {
	l = lesson{sort: sort, name: name}
	most := maxKnown
	if sort == addresses {
		most = maxAddresses
	}
	if !h.knows(sort, name) && len(h[sort]) >= most {
		list := h.names(sort)
		l.instead = list[len(list)-1]
		delete(h[sort], l.instead)
	}
	if h[sort] == nil {
		h[sort] = map[string]int64{}
	}
	h[sort][name] = now.Unix()
	return l
}

// write writes a lesson down.
func (l lesson) write(tx *store.Tx, owner int64, now time.Time) error {
	if l.instead != "" {
		if _, err := tx.Exec(`DELETE FROM activity_known WHERE owner = ? AND sort = ? AND name = ?`, owner, l.sort, l.instead); err != nil {
			return err
		}
	}
	_, err := tx.Exec(`INSERT INTO activity_known (owner, sort, name, seen) VALUES (?, ?, ?, ?)
		ON CONFLICT (owner, sort, name) DO UPDATE SET seen = excluded.seen`, owner, l.sort, l.name, now.Unix())
	return err
}

// names returns what is usual of a sort, what was seen last first.
func (h habits) names(sort string) (list []string) {
	for name := range h[sort] {
		list = append(list, name)
	}
	slices.SortFunc(list, func(a, b string) int {
		if h[sort][a] != h[sort][b] {
			return int(h[sort][b] - h[sort][a])
		}
		return strings.Compare(a, b)
	})
	return list
}

// habitat returns what is taken for one network when habits are learned: who
// announces the address, or, where that is not known, a /16 or a /32, within
// which home connections and phones mostly move.
func (c *Client) habitat() string {
	if c.Network != "" {
		return c.Network
	}
	return c.surroundings()
}

// surroundings returns the /16 or /32 that an address is in.
func (c *Client) surroundings() string { return c.within(16, 32) }

// address returns what one client has of addresses.
func (c *Client) address() string { return c.within(32, 64) }

// within returns the network of so many bits, of IPv4 or IPv6, that the
// address is in; empty where there is none.
func (c *Client) within(four, six int) string {
	bits := six
	if c.Address.Is4() {
		bits = four
	}
	if !c.Address.IsValid() {
		return ""
	}
	p, _ := c.Address.Prefix(bits) // which is never too long
	return p.String()
}

// Usual hands to each what is usual for accounts, what was seen last first:
// either an address or a device.
func Usual(tx *store.Tx, each func(owner int64, from netip.Addr, device string)) error {
	rows, err := tx.Query(`SELECT owner, sort, name FROM activity_known WHERE sort IN (?, ?) ORDER BY seen DESC LIMIT ?`, addresses, devices, int64(maxUsual))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var owner int64
		var sort, name string
		if err := rows.Scan(&owner, &sort, &name); err != nil {
			return err
		}
		if sort == devices {
			each(owner, netip.Addr{}, name)
		} else if p, err := netip.ParsePrefix(name); err == nil { // a deep check tells of others
			each(owner, p.Addr(), "")
		}
	}
	return rows.Err()
}

// Device returns what is taken for one program on one device: what it calls
// itself, as far as that does not change with the network it is in, how it
// signs in, and what TLS it speaks.
func (e *Event) Device() string {
	how := e.Client.Protocol + " " + e.Mechanism + " " + tls.VersionName(e.Client.Version)
	if e.Client.Version >= tls.VersionTLS13 { // before, a resumed session has none
		how += " " + e.Client.Group.String()
	}
	return fmt.Sprintf("%s %s", steady(cut(e.Client.Name, maxText)), how)
}

// digits are numbers, and the versions that are made of them: "1.2" and
// "1.2.3" are versions of one program.
var digits = regexp.MustCompile(`[0-9]+(\.[0-9]+)*`)

// steady returns what stays the same of a name in EHLO, or of what a browser
// calls itself: phones and programs give their address in whatever network they
// are in, computers their name with the domain of that network, and some a
// number each time; browsers get new versions every month.
func steady(name string) string {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "[") {
		return "[address]"
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "[address]"
	}
	// What browsers and other programs of HTTP call themselves has full stops in
	// its versions, and no domain: behind the first, they would all be alike.
	first := name
	if !strings.ContainsAny(name, " /") {
		first, _, _ = strings.Cut(name, ".")
	}
	return digits.ReplaceAllString(first, "#")
}
