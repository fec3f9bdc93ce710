package activity

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/audit"
	"gatepost/internal/clock"
	"gatepost/internal/store"
)

const anna = "anna@example.org"

// book is a Book and what is around it.
type book struct {
	*Book
	t     *testing.T
	db    *store.DB
	clock *clock.Fake
}

func newBook(t *testing.T) *book {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{Path: filepath.Join(t.TempDir(), "store.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	c := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	return &book{New(Options{DB: db, Clock: c, Log: slog.New(slog.DiscardHandler)}), t, db, c}
}

// from is a sign-in of anna's from an address.
func from(ip string) *Event {
	return &Event{
		Owner: 1, Account: anna, Credential: "password", Mechanism: "PLAIN",
		Client: Client{Protocol: SMTP, Address: netip.MustParseAddr(ip), Name: "client.test", Version: tls.VersionTLS13, Cipher: tls.TLS_AES_128_GCM_SHA256, Group: tls.X25519},
	}
}

// failed is one that was refused.
func failed(ip string) *Event {
	e := from(ip)
	e.Outcome, e.Credential, e.Detail = Refused, "", "wrong password"
	return e
}

// stranger is one for a name that nobody has.
func stranger(ip string) *Event {
	e := failed(ip)
	e.Owner, e.Account, e.Detail = 0, "", "there is no such account"
	return e
}

func (b *book) list(f Filter) (list []Event) {
	b.t.Helper()
	err := b.List(b.t.Context(), f, func(e *Event) error {
		list = append(list, *e)
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// sum returns how many events a list tells of.
func sum(list []Event) (n int64) {
	for i := range list {
		n += list[i].Times
	}
	return n
}

// What is alike is one row of the hour, whether it was written before or not.
func TestAlike(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.Tried(from("192.0.2.1"))
	b.Tried(from("192.0.2.1"))
	b.clock.Advance(writeDelay) // writes
	b.Tried(from("192.0.2.1"))
	other := from("192.0.2.1")
	other.Client.Name = "other.test"
	b.Tried(other)
	b.Tried(failed("192.0.2.1"))
	quiet := failed("192.0.2.1")
	quiet.Client.Name = "what whoever guesses calls himself makes no row"
	b.Tried(quiet)
	got := b.list(Filter{})
	if len(got) != 3 || sum(got) != 6 {
		t.Fatalf("%+v", got)
	}
	for _, e := range got {
		if want := map[string]int64{"client.test done": 3, "other.test done": 1, "client.test refused": 2}[e.Client.Name+" "+string(e.Outcome)]; e.Times != want {
			t.Errorf("%d times: %+v", e.Times, e)
		}
	}
	b.clock.Advance(time.Hour)
	b.Tried(from("192.0.2.1"))
	if got := b.list(Filter{}); len(got) != 4 || got[3].Times != 1 || got[3].First != b.clock.Now() {
		t.Errorf("the next hour: %+v", got)
	}
}

// What was tried is what is read again.
func TestKept(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.o.Locate = func(c *Client) { c.Country, c.Network = "DE", "AS64496" }
	e := from("::ffff:192.0.2.1")
	b.Tried(e)
	got := b.list(Filter{})
	want := *e
	want.ID, want.Kind, want.Outcome, want.Times = 1, SignIn, Done, 1
	want.First, want.Last = b.clock.Now(), b.clock.Now()
	want.Client.Address, want.Client.Country, want.Client.Network = netip.MustParseAddr("192.0.2.1"), "DE", "AS64496"
	if len(got) != 1 || got[0] != want {
		t.Errorf("%+v\nwant %+v", got, want)
	}
}

// A flood of guesses, from as many places as one likes, makes a bounded
// number of rows, and is counted to the last.
func TestFlood(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	const n = 1500
	for i := range n {
		b.Tried(failed(fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
		b.Tried(stranger(fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
		if i%500 == 0 {
			b.Flush()
		}
	}
	hers, others := b.list(Filter{Account: anna}), b.list(Filter{})
	others = slices.DeleteFunc(others, func(e Event) bool { return e.Owner != 0 })
	if len(hers) != maxRefused+1 || sum(hers) != n {
		t.Errorf("%d rows of anna's for %d", len(hers), sum(hers))
	}
	if len(others) != maxStrangers+1 || sum(others) != n {
		t.Errorf("%d rows of nobody's for %d", len(others), sum(others))
	}
	// The owner is not crowded out by it.
	b.Tried(from("192.0.2.1"))
	if got := b.list(Filter{Account: anna}); len(got) != maxRefused+2 {
		t.Errorf("%d rows", len(got))
	}
	var wrong []audit.Finding
	if err := Check(b, func(f audit.Finding) { wrong = append(wrong, f) }); err != nil || len(wrong) > 0 {
		t.Errorf("%v, %v", wrong, err)
	}
}

// View makes a book a Moment.
func (b *book) View(f func(*store.Tx) error) error { return b.db.View(context.Background(), f) }

// So is what differs within a second.
func TestPending(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	const more = 7
	for i := range maxPending + more {
		b.Tried(stranger(fmt.Sprintf("10.%d.%d.1", i/250, i%250)))
	}
	b.Tried(from("192.0.2.1"))
	if n := len(b.pending); n != maxPending+2 {
		t.Errorf("%d are pending", n)
	}
	if got := b.list(Filter{}); sum(got) != maxPending+more+1 || len(got) < maxStrangers || len(got) > maxStrangers+2 {
		t.Errorf("%d rows for %d", len(got), sum(got))
	}
}

// Of a name that is nobody's nothing is kept: it may be a password.
func TestStrangers(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.Tried(stranger("192.0.2.77"))
	b.Tried(stranger("2001:db8::77"))
	got := b.list(Filter{Failed: true})
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, e := range got {
		c := e.Client
		if c.Address.IsValid() || c.Name != "" || c.From.String() != "192.0.2.0/24" && c.From.String() != "2001:db8::/64" {
			t.Errorf("%+v", e)
		}
	}
}

// What is noted is there if what it tells of is.
func TestNote(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	undone := errors.New("undone")
	for _, end := range []error{undone, nil} {
		err := b.db.Update(t.Context(), func(tx *store.Tx) error {
			if err := b.Note(tx, &Event{Kind: Password, Owner: 1, Account: anna, Client: Client{Protocol: Command}}); err != nil {
				return err
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	if got := b.list(Filter{}); len(got) != 1 || got[0].Kind != Password || got[0].Outcome != Done {
		t.Errorf("%+v", got)
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	start := b.clock.Now()
	for i := range 2*listBatch + 1 { // more than are read at a time
		e := from("192.0.2.1")
		e.Owner, e.Account = int64(2+i), fmt.Sprintf("user%d@example.org", i)
		b.Tried(e)
	}
	b.Flush()
	b.clock.Advance(time.Minute)
	b.Tried(failed("192.0.2.1"))
	for _, tt := range []struct {
		f    Filter
		want int
	}{
		{Filter{}, 2*listBatch + 2},
		{Filter{Account: "user7@example.org"}, 1},
		{Filter{Account: "user@example.org"}, 0},
		{Filter{Failed: true}, 1},
		{Filter{Kind: SignIn}, 2*listBatch + 2},
		{Filter{Kind: Password}, 0},
		{Filter{Since: start}, 2*listBatch + 2},
		{Filter{Since: start.Add(time.Second)}, 1},
		{Filter{Since: start.Add(time.Hour)}, 0},
	} {
		got := b.list(tt.f)
		ids := map[int64]bool{}
		for _, e := range got {
			ids[e.ID] = true
		}
		if len(got) != tt.want || len(ids) != tt.want {
			t.Errorf("%+v: %d events, %d of them different", tt.f, len(got), len(ids))
		}
	}
	stop := errors.New("enough")
	if err := b.List(t.Context(), Filter{}, func(*Event) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestPrune(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	for i := range pruneBatch + 10 {
		err := b.db.Update(t.Context(), func(tx *store.Tx) error {
			return b.Note(tx, &Event{Kind: Role, Owner: int64(i + 1), Account: anna})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	b.clock.Advance(time.Hour)
	b.Tried(from("192.0.2.1"))
	b.Flush()
	if err := b.Prune(t.Context(), b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if got := b.list(Filter{}); len(got) != 1 || got[0].Kind != SignIn {
		t.Errorf("%d are left", len(got))
	}
}

// What cannot be written is counted, and does not stop what comes after.
func TestDropped(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.Tried(from("192.0.2.1"))
	b.Tried(from("192.0.2.1"))
	b.db.Close()
	b.Flush()
	if n := b.Dropped.Load(); n != 2 {
		t.Errorf("%d dropped", n)
	}
}

func TestSentences(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	many := func(e *Event) *Event { e.Times = 12; return e }
	other := func(e *Event, change func(*Event)) *Event { change(e); return e }
	for want, e := range map[string]*Event{
		`anna@example.org signed in from 192.0.2.1 as "client.test", over TLS 1.3, TLS_AES_128_GCM_SHA256, X25519, with its password (PLAIN).`: from("192.0.2.1"),
		`12 times since 12:00: anna@example.org signed in from 192.0.2.1 (DE, AS64496 x\n) as "\x1b[2J\u202e", in the clear.`: many(other(from("192.0.2.1"), func(e *Event) {
			e.Client = Client{Address: e.Client.Address, Country: "DE", Network: "AS64496 x\n", Name: "\x1b[2J\u202e"}
			e.Credential = ""
		})),
		`A sign-in as anna@example.org from 192.0.2.1 was refused: wrong password.`:                              failed("192.0.2.1"),
		`12 times since 12:00: a sign-in as anna@example.org from 192.0.2.1 was refused: wrong password.`:        many(failed("192.0.2.1")),
		`12 times since 12:00: more failed sign-ins as somebody who is not here than are told apart.`:            many(rest(stranger("192.0.2.1"), 0, "")),
		`More sign-ins as anna@example.org than are told apart.`:                                                 rest(from("192.0.2.1"), 1, anna),
		`A sign-in as somebody who is not here from 192.0.2.1 (FR) was put off: too many.`:                       other(stranger("192.0.2.1"), func(e *Event) { e.Outcome, e.Detail, e.Client.Country = Later, "too many", "FR" }),
		`The password of anna@example.org was set on the command line.`:                                          {Kind: Password, Account: anna, Client: Client{Protocol: Command}},
		`The password of anna@example.org was set by an operator of this server (user r\x1boot).`:                {Kind: Password, Account: anna, Client: Client{Protocol: Command, Operator: "user r\x1boot"}},
		`The account anna@example.org was frozen, by a link, from 192.0.2.1 as "\x1b".`:                          {Kind: Frozen, Account: anna, Detail: "by a link", Client: Client{Protocol: Web, Address: netip.MustParseAddr("192.0.2.1"), Name: "\x1b"}},
		`The account anna@example.org was frozen.`:                                                               {Kind: Frozen, Account: anna, Client: Client{Protocol: Web}},
		`Mail that reaches anna@example.org was made to go elsewhere too: info@example.org to evil@example.net.`: {Kind: Forwarding, Account: anna, Detail: "info@example.org to evil@example.net"},
		`The program "Thunderbird" was allowed to act for anna@example.org.`:                                     {Kind: GrantAdded, Account: anna, Detail: "Thunderbird"},
		`The program "App" may not act for anna@example.org any more.`:                                           {Kind: GrantRemoved, Account: anna, Detail: "App"},
		`The device "\x1b]0;" of anna@example.org got a password.`:                                               {Kind: DeviceAdded, Account: anna, Detail: "\x1b]0;"},
		`The device "phone" of anna@example.org got a certificate.`:                                              {Kind: CertificateIssued, Account: anna, Detail: "phone"},
		`The certificate of the device "phone" of anna@example.org was revoked.`:                                 {Kind: CertificateRevoked, Account: anna, Detail: "phone"},
	} {
		if e.Kind == "" {
			e.Kind = SignIn
		}
		if e.Outcome == "" {
			e.Outcome = Done
		}
		e.First = at
		if got := e.Sentence(); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	for _, k := range Kinds() {
		e := &Event{Kind: k, Outcome: Done, Account: anna, Detail: "x"}
		if s := e.Sentence(); strings.HasPrefix(s, string(k)) || !strings.HasSuffix(s, ".") {
			t.Errorf("%s: %s", k, s)
		}
	}
}

// changed is the moment after a statement, which is then undone.
type changed struct {
	*book
	statement string
}

func (c changed) View(f func(*store.Tx) error) error {
	undone := errors.New("undone")
	err := c.db.Update(c.t.Context(), func(tx *store.Tx) error {
		if c.statement != "" {
			if _, err := tx.Exec(c.statement); err != nil {
				return err
			}
		}
		if err := f(tx); err != nil {
			return err
		}
		return undone
	})
	if errors.Is(err, undone) {
		return nil
	}
	return err
}

func TestCheck(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	b.Tried(from("192.0.2.1"))
	b.Flush()
	for change, want := range map[string]string{
		``:                                                      "",
		`UPDATE activity SET kind = 'dance'`:                    `there is no kind "dance"`,
		`UPDATE activity SET outcome = 'maybe'`:                 `there is no outcome "maybe"`,
		`UPDATE activity SET address = 'here'`:                  `"here" is not an address`,
		`UPDATE activity SET owner = 0`:                         "without its id",
		`UPDATE activity SET times = 0`:                         "0 times",
		`UPDATE activity SET hour = 7`:                          "not of its hour",
		`UPDATE sequence SET next = 1 WHERE name = 'activity'`:  "The sequence activity goes on with 1, and 1 is given already.",
		`DELETE FROM sequence WHERE name = 'activity' OR 1 = 1`: "The sequence activity goes on with 0, and 1 is given already.",
	} {
		var texts []string
		err := Check(changed{b, change}, func(f audit.Finding) { texts = append(texts, f.Text) })
		if err != nil || (want == "") != (len(texts) == 0) || !strings.Contains(strings.Join(texts, "\n"), want) {
			t.Errorf("%s: %q, %v", change, texts, err)
		}
	}
}

// What a sign-in costs whoever waits for it.
func BenchmarkTried(b *testing.B) {
	book := New(Options{Clock: clock.NewFake(time.Unix(1_800_000_000, 0)), Log: slog.New(slog.DiscardHandler)})
	e := from("192.0.2.1")
	for b.Loop() {
		book.Tried(e)
	}
}
