package activity

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/audit"
	"gatepost/internal/store"
)

// placed is a book that knows some places by their first octet.
func placed(t *testing.T) *book {
	b := newBook(t)
	b.o.Locate = func(c *Client) {
		switch {
		case !c.Address.Is4():
		case c.Address.As4()[0] == 11:
			c.Country, c.Network = "DE", "AS64496 Home"
		case c.Address.As4()[0] == 12:
			c.Country, c.Network = "DE", "AS64497 Phone"
		case c.Address.As4()[0] == 13:
			c.Country, c.Network = "DE", "AS64498 Hotel"
		case c.Address.As4()[0] == 14:
			c.Country, c.Network = "FR", "AS64499 Elsewhere"
		case c.Address.As4()[0] == 15:
			c.Country, c.Network = "DE", "AS64500 Café"
		}
	}
	return b
}

// told returns the kinds of the alerts that were made since, and takes them
// for sent.
func (b *book) told() (kinds []AlertKind) {
	b.t.Helper()
	b.Flush()
	list, err := b.Unsent(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, a := range list {
		kinds = append(kinds, a.Kind)
		if err := b.o.DB.Update(b.t.Context(), func(tx *store.Tx) error { return b.Sent(tx, a.ID) }); err != nil {
			b.t.Fatal(err)
		}
	}
	return kinds
}

// as is a sign-in by another program.
func as(e *Event, name string) *Event {
	e.Client.Name = name
	return e
}

// The first sign-in teaches; from then on what is new is told, once.
func TestWhatIsNewIsTold(t *testing.T) {
	t.Parallel()
	b := placed(t)
	old := func(e *Event) *Event {
		e.Client.Version = tls.VersionTLS12
		return e
	}
	for i, step := range []struct {
		e     *Event
		later time.Duration // before it
		want  []AlertKind
	}{
		{from("11.0.0.1"), 0, nil},
		{from("11.7.0.1"), time.Hour, nil},           // another address of the same provider
		{as(from("11.0.0.1"), "client.lan"), 1, nil}, // the same name in another network
		{as(from("11.0.0.1"), "phone"), 1, []AlertKind{NewDevice}},
		{as(from("11.0.0.1"), "phone"), time.Hour, nil},
		{from("12.0.0.1"), 0, []AlertKind{NewNetwork}},
		{from("12.0.0.1"), time.Hour, nil},
		{from("13.0.0.1"), 0, []AlertKind{NewNetwork}},
		{from("15.0.0.1"), 0, nil}, // moves about
		{from("14.0.0.1"), 3 * time.Hour, []AlertKind{NewCountry}},
		{from("14.0.0.1"), time.Hour, nil},
		{from("11.0.0.1"), time.Minute, nil}, // back, at whatever speed: both are known
		{old(from("11.0.0.1")), 0, []AlertKind{NewDevice}},
		{old(from("11.0.0.1")), time.Hour, nil},
		{from("2001:db8::1"), movesTime, []AlertKind{NewNetwork}}, // of a place that is not known
		{from("2001:db8:1::1"), 0, nil},                           // the same /32
		{failed("14.0.0.77"), 0, nil},
		{stranger("14.0.0.77"), 0, nil},
	} {
		b.clock.Advance(step.later)
		b.Tried(step.e)
		if got := b.told(); !slices.Equal(got, step.want) {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
	// Half a year later only what was seen last is usual, and whoever comes
	// otherwise is not taken for the first.
	b.clock.Advance(KnownLife + time.Hour)
	if err := b.Prune(t.Context(), b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	b.Tried(from("2001:db8:2::1"))
	if got := b.told(); got != nil {
		t.Errorf("%q", got)
	}
	b.Tried(as(from("2001:db8:2::1"), "phone"))
	if got := b.told(); !slices.Equal(got, []AlertKind{NewDevice}) {
		t.Errorf("%q", got)
	}
}

// That the operator has begun to provide files of places is no news to
// anybody.
func TestPlacesComeLater(t *testing.T) {
	t.Parallel()
	b := placed(t)
	locate := b.o.Locate
	b.o.Locate = nil
	b.Tried(from("11.0.0.1"))
	b.Flush()
	b.clock.Advance(time.Hour)
	b.o.Locate = locate
	b.Tried(from("11.0.0.1"))
	if got := b.told(); got != nil {
		t.Errorf("%q", got)
	}
	b.clock.Advance(3 * time.Hour)
	b.Tried(from("14.0.0.1"))
	if got := b.told(); !slices.Equal(got, []AlertKind{NewCountry}) {
		t.Errorf("%q", got)
	}
}

func TestTravel(t *testing.T) {
	t.Parallel()
	b := placed(t)
	b.Tried(from("11.0.0.1"))
	b.Flush()
	b.clock.Advance(travelTime - time.Minute)
	b.Tried(from("14.0.0.1"))
	if got := b.told(); !slices.Equal(got, []AlertKind{Travel}) {
		t.Errorf("%q", got)
	}
}

// The first one of all tells of nothing but an outdated program.
func TestOutdated(t *testing.T) {
	t.Parallel()
	b := placed(t)
	e := from("11.0.0.1")
	e.Client.Version = tls.VersionTLS12
	b.Tried(e)
	if got := b.told(); !slices.Equal(got, []AlertKind{OutdatedTLS}) {
		t.Errorf("%q", got)
	}
	b.clock.Advance(time.Hour)
	b.Tried(e)
	if got := b.told(); got != nil {
		t.Errorf("%q", got)
	}
}

// Many failures are told once, whether they come at once or bit by bit, and
// say how many of them are from networks that the owner uses.
func TestFailures(t *testing.T) {
	t.Parallel()
	b := placed(t)
	b.Tried(from("11.0.0.1"))
	for i := range manyFailures - 1 {
		b.Tried(failed(fmt.Sprintf("1%d.0.0.1", 1+i%4)))
		if i%10 == 0 {
			b.Flush()
		}
	}
	if got := b.told(); got != nil {
		t.Errorf("%q", got)
	}
	b.Tried(failed("11.0.0.1"))
	b.Flush()
	list, err := b.Unsent(t.Context())
	if err != nil || len(list) != 1 || list[0].Kind != Failures || list[0].Detail != "50, of which 14 from networks that you use" {
		t.Errorf("%+v, %v", list, err)
	}
	b.told()
	for range 3 {
		b.clock.Advance(time.Hour)
		for range 3 * manyFailures {
			b.Tried(failed("14.0.0.1"))
		}
		if got := b.told(); got != nil {
			t.Errorf("%q", got)
		}
	}
}

// Who has the right password and does not get in is told of, unless it looks
// like a program of the owner's own.
func TestStolenPasswordIsTold(t *testing.T) {
	t.Parallel()
	b := placed(t)
	b.Tried(from("11.0.0.1"))
	b.Flush()
	b.told()
	knows := func(ip, name, why string) {
		e := failed(ip)
		e.Client.Name, e.Detail, e.Knew = name, why, true
		b.Tried(e)
	}
	for _, ip := range []string{"11.0.0.1", "11.0.9.9"} {
		knows(ip, from(ip).Client.Name, "right, but no code")
	}
	b.Tried(failed("14.0.0.1")) // a guess
	if got := b.told(); got != nil {
		t.Errorf("%q", got)
	}
	knows("14.0.0.1", "phisher.test", "right, but no code")
	if got := b.told(); !slices.Equal(got, []AlertKind{Stolen}) {
		t.Errorf("%q", got)
	}
	b.clock.Advance(2 * time.Hour)
	knows("15.0.0.1", "phisher.test", "right, but no code")
	if got := b.told(); got != nil {
		t.Errorf("again within a day: %q", got)
	}
	b.clock.Advance(stolenRest)
	knows("11.0.0.1", "phisher.test", "right, but no code") // from the owner's own provider
	if got := b.told(); !slices.Equal(got, []AlertKind{Stolen}) {
		t.Errorf("%q", got)
	}
}

// change notes a change as an operator's.
func (b *book) change(kind Kind, detail string) {
	b.t.Helper()
	err := b.db.Update(b.t.Context(), func(tx *store.Tx) error {
		return b.Note(tx, &Event{Kind: kind, Owner: 1, Account: anna, Detail: detail, Client: Client{Protocol: Command}})
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	for kind, want := range map[Kind]AlertKind{
		Password: PasswordSet, DeviceAdded: DeviceSet, Forwarding: ForwardingSet, Recovery: RecoverySet, GrantAdded: GrantSet, TokenReused: TokenStolen,
		CertificateIssued: CertificateSet, CertificateRevoked: "", Frozen: AccountFrozen, Released: AccountFreed, Export: "", AliasSet: "", DeviceRemoved: "", Role: "", AccountAdded: "",
	} {
		b.change(kind, "x@example.net")
		if got := b.told(); len(got) > 1 || (len(got) == 1) != (want != "") || len(got) == 1 && got[0] != want {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

// A day has a bounded number of alerts, and the last says so.
func TestAlertsAreBounded(t *testing.T) {
	t.Parallel()
	b := placed(t)
	b.Tried(from("11.0.0.1"))
	for i := range 3 * maxNews {
		b.Tried(as(from("11.0.0.1"), strings.Repeat("x", i+1)))
		b.Flush()
	}
	list, err := b.Unsent(t.Context())
	if err != nil || len(list) != maxNews || !list[maxNews-1].Last || list[0].Last {
		t.Errorf("%d, %+v, %v", len(list), list, err)
	}
	b.change(Password, "") // is told all the same
	if got := b.told(); len(got) != maxNews+1 {
		t.Errorf("%q", got)
	}
	b.clock.Advance(25 * time.Hour)
	b.Tried(as(from("11.0.0.1"), "next"))
	if got := b.told(); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

// What is usual is bounded too; what was seen longest ago makes room.
func TestHabitsAreBounded(t *testing.T) {
	t.Parallel()
	h := habits{}
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range maxKnown + 10 {
		h.learn(devices, fmt.Sprint(i), start.Add(time.Duration(i)*time.Second))
	}
	if len(h[devices]) != maxKnown || h.knows(devices, "9") || !h.knows(devices, "10") {
		t.Errorf("%d are known", len(h[devices]))
	}
}

func TestSteady(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"[192.168.1.7]": "[address]", "[IPv6:2001:db8::1]": "[address]", "192.168.1.7": "[address]", "2001:db8::1": "[address]",
		"Annas-MBP.fritz.box": "annas-mbp", "annas-mbp.lan": "annas-mbp", "ip-10-0-0-7.ec2.internal": "ip-#-#-#-#", "localhost": "localhost", "": "",
		// Browsers are told apart, and their versions are not.
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                              "mozilla/# (x#; linux x#_#; rv:#) gecko/# firefox/#",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.7390.54 Safari/537.36": "mozilla/# (windows nt #; win#; x#) applewebkit/# (khtml, like gecko) chrome/# safari/#",
		"curl/8.14.1": "curl/#", "curl/8.15": "curl/#",
	} {
		if got := steady(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Alerts go to the recovery address too; that it is changed is told to the
// former and to the new one. With the account its alerts are gone.
func TestRecoveryAddress(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	do := func(query string, args ...any) {
		t.Helper()
		if err := b.db.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.Exec(query, args...); return err }); err != nil {
			t.Fatal(err)
		}
	}
	do(`INSERT INTO domain (name, created) VALUES ('example.org', 0)`)
	do(`INSERT INTO account (id, domain, local, role, quota, send_limit, frozen, created, scram_salt, scram_iterations)
		VALUES (1, 'example.org', 'anna', 'user', 0, 0, 0, 0, ?, 0)`, []byte{})
	set := func(address string) {
		t.Helper()
		b.change(Recovery, address)
		if err := b.db.Update(t.Context(), func(tx *store.Tx) error { return SetRecovery(tx, 1, address) }); err != nil {
			t.Fatal(err)
		}
	}
	set("first@example.net")
	set("second@example.net")
	set("")
	b.change(Password, "")
	list, err := b.Unsent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var also []string
	for _, a := range list {
		also = append(also, strings.Join(a.Also, " "))
	}
	if want := []string{"first@example.net", "first@example.net second@example.net", "second@example.net", ""}; !slices.Equal(also, want) {
		t.Errorf("%q, want %q", also, want)
	}
	b.change(AccountRemoved, "")
	if got := b.told(); got != nil {
		t.Errorf("%q", got)
	}
}

func TestCheckTold(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.Tried(from("192.0.2.1"))
	b.Flush()
	b.change(Password, "")
	for change, want := range map[string]string{
		``: "",
		`UPDATE activity_known SET sort = 'mood' WHERE sort = 'device'`: `There is no sort "mood" of what is usual for account 1.`,
		`UPDATE activity_alert SET event = 4711`:                        `Of the event that the alert "password"`,
		`UPDATE activity_alert SET owner = 2`:                           "to another account than its event",
	} {
		var texts []string
		err := Check(changed{b, change}, func(f audit.Finding) { texts = append(texts, f.Text) })
		if err != nil || (want == "") != (len(texts) == 0) || !strings.Contains(strings.Join(texts, "\n"), want) {
			t.Errorf("%s: %q, %v", change, texts, err)
		}
	}
}

func TestHabitat(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"192.0.2.1": "192.0.0.0/16", "2001:db8:1:2::3": "2001:db8::/32"} {
		if got := (&Client{Address: netip.MustParseAddr(in)}).habitat(); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	if got := (&Client{}).habitat(); got != "" {
		t.Errorf("nowhere is %s", got)
	}
}
