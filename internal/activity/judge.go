package activity

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"gatepost/internal/store"
)

// When somebody is told.
const (
	// manyFailures in an hour are told of, and again after failuresRest at
	// the earliest: every mailbox in the world is guessed at.
	manyFailures = 50
	failuresRest = 7 * 24 * time.Hour
	// stolenRest is how long nobody is told again that somebody has the
	// password.
	stolenRest = 24 * time.Hour
	// maxMoves is how many new networks within movesTime are told of, where
	// device and country are known ones: whoever moves about has new
	// networks all the time.
	maxMoves  = 2
	movesTime = 30 * 24 * time.Hour
	// travelTime is the time within which nobody is in two countries of which
	// the second is new.
	travelTime = 2 * time.Hour
	// maxNews bounds the alerts of an account about sign-ins in a day, and
	// maxChanges those about what was changed; what is beyond is in the log.
	maxNews    = 5
	maxChanges = 20
)

// judgeSignIn compares a sign-in with what is usual.
func (b *Book) judgeSignIn(tx *store.Tx, e *Event) error {
	h, err := readHabits(tx, e.Owner)
	if err != nil {
		return err
	}
	kind, why, lessons := h.judge(e)
	for _, l := range lessons {
		if err := l.write(tx, e.Owner, e.Last); err != nil {
			return err
		}
	}
	switch kind {
	case "":
		return nil
	case NewNetwork:
		n, err := countAlerts(tx, e.Owner, []AlertKind{NewNetwork}, e.Last.Add(-movesTime))
		if err != nil || n >= maxMoves {
			return err
		}
	}
	return b.alert(tx, kind, e, why)
}

// judge compares a sign-in with what is usual, and learns from it. It returns
// the kind of alert that it is worth, empty for none, and what is new about
// it. The first of an account teaches: only that the program is outdated is
// told of that one.
func (h habits) judge(e *Event) (kind AlertKind, why string, lessons []lesson) {
	country, network, device := e.Client.Country, e.Client.habitat(), e.Device()
	first := len(h) == 0
	before := h.names(countries)
	n := news{
		// Where nothing was known of places before, all is as it was: files that
		// the operator has just given must not alarm everybody.
		country: country != "" && len(before) > 0 && !h.knows(countries, country),
		network: network != "" && !h.knows(networks, network) && !h.knows(networks, e.Client.surroundings()),
		device:  !h.knows(devices, device),
	}
	n.travel = n.country && e.Last.Unix()-h[countries][before[0]] < int64(travelTime/time.Second)
	for _, l := range []lesson{{sort: countries, name: country}, {sort: networks, name: network}, {sort: devices, name: device}, {sort: addresses, name: e.Client.address()}} {
		if l.name != "" {
			lessons = append(lessons, h.learn(l.sort, l.name, e.Last))
		}
	}
	if !first {
		kind, why = n.kind(), n.text(before)
	}
	if e.Client.Version < tls.VersionTLS13 && !h.knows(oldTLS, device) {
		lessons = append(lessons, h.learn(oldTLS, device, e.Last))
		if kind == "" {
			kind = OutdatedTLS
		}
	}
	return kind, why, lessons
}

// news is what is not usual about a sign-in.
type news struct{ country, network, device, travel bool }

// kind returns the kind of alert that it is worth; empty: none.
func (n news) kind() AlertKind {
	switch {
	case n.travel:
		return Travel
	case n.country:
		return NewCountry
	case n.device:
		return NewDevice
	case n.network:
		return NewNetwork
	}
	return ""
}

// text says what is not usual; before are the countries of earlier sign-ins,
// the last first.
func (n news) text(before []string) string {
	var list []string
	if n.country {
		list = append(list, fmt.Sprintf("the country (before: %s)", strings.Join(before[:min(len(before), 5)], ", ")))
	}
	if n.network {
		list = append(list, "the network")
	}
	if n.device {
		list = append(list, "the device or program")
	}
	return strings.Join(list, ", ")
}

// judgeFailures tells of many failures in the hour of e, which is one of them.
func (b *Book) judgeFailures(tx *store.Tx, e *Event) error {
	n, here, most, err := failures(tx, e)
	if err != nil || n < manyFailures {
		return err
	}
	told, err := countAlerts(tx, e.Owner, []AlertKind{Failures}, e.Last.Add(-failuresRest))
	if err != nil || told > 0 {
		return err
	}
	return b.alert(tx, Failures, most, fmt.Sprintf("%d, of which %d from networks that you use", n, here))
}

// judgeStolen tells of somebody who showed the right password, or that of a
// device, and was refused all the same: a second factor is on, or the device
// is for another network. So it is with a password that was phished.
func (b *Book) judgeStolen(tx *store.Tx, e *Event) error {
	h, err := readHabits(tx, e.Owner)
	if err != nil || h.own(e) {
		return err
	}
	told, err := countAlerts(tx, e.Owner, []AlertKind{Stolen}, e.Last.Add(-stolenRest))
	if err != nil || told > 0 {
		return err
	}
	return b.alert(tx, Stolen, e, "")
}

// own reports whether an attempt looks like a program of the owner's that
// still has a password which opens nothing any more: it comes from where the
// owner is usually, and has the name of one that signed in before. How it signs
// in does not count, since that may have changed with what the account asks
// for.
func (h habits) own(e *Event) bool {
	if !h.knows(networks, e.Client.habitat()) && !h.knows(networks, e.Client.surroundings()) {
		return false
	}
	for name := range h[devices] {
		if strings.HasPrefix(name, steady(e.Client.Name)+" ") {
			return true
		}
	}
	return false
}

// failures counts those of an hour, and how many of them came from networks
// that the account uses; most is the row with most of them.
func failures(tx *store.Tx, e *Event) (n, here int64, most *Event, err error) {
	h, err := readHabits(tx, e.Owner)
	if err != nil {
		return 0, 0, nil, err
	}
	rows, err := tx.Query(`SELECT `+columns+` FROM activity WHERE hour = ? AND owner = ? AND kind = ? AND outcome = ?`,
		e.Last.Unix()/3600, e.Owner, string(SignIn), string(Refused))
	if err != nil {
		return 0, 0, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		f, err := scan(rows)
		if err != nil {
			return 0, 0, nil, err
		}
		if n += f.Times; most == nil || f.Times > most.Times {
			most = &f
		}
		if f.Client.Address.IsValid() && h.knows(networks, f.Client.habitat()) {
			here += f.Times
		}
	}
	return n, here, most, rows.Err()
}

// changes are the kinds of events that are told whenever they happen.
var changes = map[Kind]AlertKind{
	Password: PasswordSet, DeviceAdded: DeviceSet, Forwarding: ForwardingSet, Recovery: RecoverySet,
	CertificateIssued: CertificateSet, Frozen: AccountFrozen, Released: AccountFreed,
	GrantAdded: GrantSet, TokenReused: TokenStolen,
	FactorAdded: FactorSet, FactorRemoved: FactorGone, RecoveryUsed: CodeUsed, CodesMade: CodesSet,
}
