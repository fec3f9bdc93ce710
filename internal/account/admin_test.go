package account

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/mtasts"
	"gatepost/internal/store"
)

func TestDomains(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org", "beta.example")
	says(t, "twice", h.AddDomain(ctx, "example.org"), "the domain example.org is here already")
	says(t, "a literal", h.AddDomain(ctx, "[192.0.2.1]"), "is not a domain name")
	says(t, "nothing", h.AddDomain(ctx, ""), "is not a domain name")
	h.accounts("henry@example.org")
	list, err := h.Domains(ctx)
	want := []Domain{{Name: "beta.example", Created: start, STS: mtasts.Testing}, {Name: "example.org", Accounts: 1, Created: start, STS: mtasts.Testing}}
	if err != nil || !reflect.DeepEqual(list, want) {
		t.Errorf("%v, %v", list, err)
	}
	if d, err := h.Domain(ctx, "example.org"); err != nil || d != want[1] {
		t.Errorf("%v, %v", d, err)
	}
	_, err = h.Domain(ctx, "xn--bcher-kva.example")
	says(t, "an unknown one", err, "there is no domain bücher.example here; add it first with: gatepost domain add bücher.example")

	h.alias("x@example.org", "far@remote.example")
	h.alias("y@beta.example", "henry@example.org")
	says(t, "with accounts", h.RemoveDomain(ctx, "example.org", false), "still has 1 accounts")
	if got := h.resolve("henry@example.org"); got != "henry@example.org" {
		t.Errorf("after a refusal: %q", got)
	}
	if err := h.RemoveDomain(ctx, "example.org", true); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"henry@example.org", "x@example.org", "postmaster@example.org"} {
		if got := h.resolve(to); got != "550 5.1.1" {
			t.Errorf("%s is still there: %q", to, got)
		}
	}
	if got := h.resolve("y@beta.example"); got != "henry@example.org" { // another server's now
		t.Errorf("an alias elsewhere: %q", got)
	}
	says(t, "removing again", h.RemoveDomain(ctx, "example.org", true), "there is no domain")
	h.domain("example.org") // nothing of it was left
	if _, err := h.Account(ctx, addr.MustParse("henry@example.org")); err == nil {
		t.Error("the account survived its domain")
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	a, err := h.AddAccount(ctx, addr.MustParse("Henry@example.org"), password, Admin)
	want := Account{ID: 1, Address: addr.MustParse("henry@example.org"), Role: Admin, Quota: 1 << 30, SendLimit: 100, Created: start}
	if err != nil || a != want {
		t.Errorf("%+v, %v", a, err)
	}
	h.accounts("anna@example.org")
	h.alias("info@example.org", "henry@example.org")
	for in, want := range map[string]string{
		"henry@example.org":   "there is an account henry@example.org already",
		"HENRY@example.org":   "there is an account henry@example.org already",
		"info@example.org":    "there is an alias info@example.org already",
		"henry@other.example": "there is no domain other.example here; add it first with: gatepost domain add other.example",
	} {
		_, err := h.AddAccount(ctx, addr.MustParse(in), password, User)
		says(t, in, err, want)
	}
	_, err = h.AddAccount(ctx, addr.MustParse("x@example.org"), password, "root")
	says(t, "a role", err, `there is no role "root"`)
	for pw, want := range map[string]string{"short": "has 5 characters, and 12 are the least", "new@example.org": "the address itself", "qwertyuiop12": "it is known", strings.Repeat("x", 1001): "longer than 1000"} {
		_, err := h.AddAccount(ctx, addr.MustParse("new@example.org"), pw, User)
		says(t, "a password", err, want)
	}
	role, quota, limit := User, int64(5), 7
	if err := h.SetAccount(ctx, want.Address, Settings{Role: &role, Quota: &quota, SendLimit: &limit}); err != nil {
		t.Error(err)
	}
	if a, _ = h.Account(ctx, want.Address); a.Role != User || a.Quota != 5 || a.SendLimit != 7 {
		t.Errorf("%+v", a)
	}
	quota, limit = Configured, 0
	if err := h.SetAccount(ctx, want.Address, Settings{Quota: &quota, SendLimit: &limit}); err != nil {
		t.Error(err)
	}
	if a, _ = h.Find(ctx, want.Address); a.Role != User || a.Quota != 1<<30 || a.SendLimit != 0 {
		t.Errorf("%+v", a)
	}
	quota = -2
	says(t, "a negative quota", h.SetAccount(ctx, want.Address, Settings{Quota: &quota}), "not a limit")
	role = "root"
	says(t, "a role", h.SetAccount(ctx, want.Address, Settings{Role: &role}), "there is no role")
	if a, _ = h.Account(ctx, want.Address); a.Role != User || a.Quota != 1<<30 {
		t.Errorf("a refused change left traces: %+v", a)
	}
	list, err := h.Accounts(ctx)
	if err != nil || len(list) != 2 || list[0].Address.Local != "anna" || list[1].Address.Local != "henry" || list[0].Quota != 1<<30 {
		t.Errorf("%+v, %v", list, err)
	}
	nobody := addr.MustParse("nobody@example.org")
	_, errA := h.Account(ctx, nobody)
	for what, err := range map[string]error{
		"show": errA, "set": h.SetAccount(ctx, nobody, Settings{}), "password": h.SetPassword(ctx, nobody, password),
		"freeze": h.Freeze(ctx, nobody), "release": h.Release(ctx, nobody), "remove": h.RemoveAccount(ctx, nobody),
		"devices": second(h.Devices(ctx, nobody)), "remove device": h.RemoveDevice(ctx, nobody, 1),
	} {
		says(t, what, err, "there is no account nobody@example.org")
	}
}

func second[A any](_ A, err error) error { return err }

// The name of a new account is what every program makes of it.
func TestNames(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	for name, ok := range map[string]bool{
		"henry.ford-2_x": true, "o'brien": true, "josé": true, "ジョン": true, "مريم": true, "0": true, strings.Repeat("x", 64): true,
		"henryⅣ": false, "ｈenry": false, "ﬁsh": false, "a\u200bb": false, "a\u00adb": false, "henry²": false, "😀": false,
		"henry+tag": false, "a%b": false, "a!b": false, "a/b": false, "a=b": false, "*": false, "a&b": false, "{x}": false,
		`"a b"`: false, `"a@b"`: false, `".a"`: false, `""`: false, strings.Repeat("x", 65): false,
	} {
		a, err := addr.Parse(name + "@example.org")
		if err != nil {
			continue // refused already as an address
		}
		_, err = h.AddAccount(ctx, a, password, User)
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Aliases may be more, but not what cannot be written alike everywhere.
	for name, ok := range map[string]bool{"a+b": true, "a/b=c": true, "henryⅣ": false, `"a b"`: false} {
		err := h.AddAlias(ctx, addr.MustParse(name+"@example.org"), addresses("far@remote.example"))
		if (err == nil) != ok {
			t.Errorf("alias %s: %v", name, err)
		}
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org", "other.example")
	h.accounts("admin@example.org", "henry@example.org")
	h.alias("Info@example.org", "Henry+Info@example.org", "Far@remote.example")
	h.alias("@other.example", "henry@example.org")
	h.clock.Advance(time.Hour)
	h.alias("postmaster@example.org", "henry@example.org")
	h.accounts("abuse@other.example")
	far := addresses("far@remote.example")
	for in, want := range map[string]string{
		"info@example.org":       "there is an alias info@example.org already",
		"henry@example.org":      "there is an account henry@example.org already",
		"x@nowhere.example":      "there is no domain nowhere.example here",
		"postmaster@example.org": "there is an alias postmaster@example.org already",
	} {
		says(t, in, h.AddAlias(ctx, addr.MustParse(in), far), want)
	}
	catchAll, err := ParseAlias("@other.example")
	if err != nil {
		t.Fatal(err)
	}
	says(t, "a second catch-all", h.AddAlias(ctx, catchAll, far), "there is an alias @other.example already")
	x := addr.MustParse("x@example.org")
	for what, c := range map[string]struct {
		targets []addr.Address
		want    string
	}{
		"nobody's": {addresses("typo@example.org"), "nobody has it; add it first with: gatepost account add typo@example.org"},
		"none":     {nil, "at least one target"},
		"null":     {[]addr.Address{{}}, "is not an address"},
		"a domain": {[]addr.Address{catchAll}, "is not an address"},
	} {
		says(t, what, h.AddAlias(ctx, x, c.targets), c.want)
		says(t, what, h.SetAlias(ctx, addr.MustParse("info@example.org"), c.targets), c.want)
	}
	says(t, "set", h.SetAlias(ctx, x, far), "there is no alias x@example.org")
	says(t, "remove", h.RemoveAlias(ctx, x), "there is no alias x@example.org")
	says(t, "set a role of a foreign domain", h.SetAlias(ctx, addr.MustParse("abuse@nowhere.example"), far), "there is no domain nowhere.example")
	_, err = h.Alias(ctx, x)
	says(t, "show", err, "there is no alias x@example.org")

	list, err := h.Aliases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range list {
		got = append(got, fmt.Sprintf("%s > %s %v %v", AliasName(a.Address), spelled(a.Targets), a.Role, !a.Created.IsZero()))
	}
	want := []string{
		"abuse@example.org > admin@example.org true false",
		"info@example.org > henry+info@example.org Far@remote.example false true",
		"postmaster@example.org > henry@example.org false true",
		"@other.example > henry@example.org false true",
		"postmaster@other.example > admin@example.org true false",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("aliases:\n%s", strings.Join(got, "\n"))
	}
	if a, err := h.Alias(ctx, catchAll); err != nil || AliasName(a.Address) != "@other.example" {
		t.Errorf("%v, %v", a, err)
	}
	if a, err := h.Alias(ctx, addr.MustParse("Abuse@Example.org")); err != nil || !a.Role {
		t.Errorf("%v, %v", a, err)
	}
	for in, ok := range map[string]bool{"a@b.example": true, "@b.example": true, "@": false, "a": false, "@[192.0.2.1]": true, "a@": false, "*@b.example": true} {
		if a, err := ParseAlias(in); (err == nil) != ok || ok && AliasName(a) != in {
			t.Errorf("%s: %v, %v", in, a, err)
		}
	}
}

// Whoever gets an address after somebody else gets nothing of theirs.
func TestRemoveAccount(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org", "anna@example.org", "henryx@example.org")
	h.alias("both@example.org", "henry+list@example.org", "anna@example.org")
	h.alias("his@example.org", "henry@example.org")
	h.alias("other@example.org", "henryx@example.org")
	henry := addr.MustParse("henry@example.org")
	before, _ := h.Account(ctx, henry)
	if _, _, err := h.AddDevice(ctx, henry, "phone", Terms{}); err != nil {
		t.Fatal(err)
	}
	if err := h.Spend(ctx, "henry@example.org", 100); err != nil {
		t.Fatal(err)
	}
	if err := h.RemoveAccount(ctx, addr.MustParse("Henry@example.org")); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(writeDelay) // the count of what it sent has nowhere to go
	for to, want := range map[string]string{
		"henry@example.org": "550 5.1.1", "both@example.org": "anna@example.org", "his@example.org": "550 5.1.1", "other@example.org": "henryx@example.org",
	} {
		if got := h.resolve(to); got != want {
			t.Errorf("%s: %q instead of %q", to, got, want)
		}
	}
	if got := outcome("sent", h.Spend(ctx, "henry@example.org", 1)); got != "550 5.7.1" {
		t.Errorf("sending while signed in to an account that is gone: %s", got)
	}
	h.alias("his@example.org", "anna@example.org") // nothing of it was left
	h.accounts("henry@example.org")
	after, err := h.Account(ctx, henry)
	if err != nil || after.ID == before.ID {
		t.Errorf("the id was reused: %v, %v", after, err)
	}
	if list, err := h.Devices(ctx, henry); err != nil || len(list) != 0 {
		t.Errorf("devices were inherited: %v, %v", list, err)
	}
	if err := h.Spend(ctx, "henry@example.org", 100); err != nil {
		t.Errorf("the count was inherited: %v", err)
	}
	if owns, _ := h.Owns(ctx, "henry@example.org", addr.MustParse("both@example.org")); owns {
		t.Error("an alias was inherited")
	}
	if strings.Contains(h.log.String(), "ERROR") {
		t.Errorf("log:\n%s", h.log.String())
	}
}

func TestSpend(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org", "anna@example.org")
	const henry = "henry@example.org"
	spend := func(n int, want string) {
		t.Helper()
		if got := outcome("ok", h.Spend(ctx, henry, n)); got != want {
			t.Errorf("%d: %s instead of %s", n, got, want)
		}
	}
	spend(60, "ok")
	spend(41, "452 4.7.1") // counts nothing
	spend(40, "ok")
	spend(1, "452 4.7.1")
	if err := h.Spend(ctx, "anna@example.org", 100); err != nil {
		t.Errorf("another account: %v", err)
	}
	h.restart()
	spend(1, "452 4.7.1") // a clean stop forgets nothing
	h.clock.Advance(12*time.Hour - time.Second)
	spend(1, "452 4.7.1")
	h.clock.Advance(time.Second) // 00:00 UTC
	spend(100, "ok")
	spend(1, "452 4.7.1")
	h.clock.Advance(writeDelay)
	var days int64
	err := h.db.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT COUNT(*) FROM sent WHERE account = 1`).Scan(&days)
	})
	if err != nil || days != 1 {
		t.Errorf("%d days are kept, %v", days, err)
	}
	limit := 0
	if err := h.SetAccount(ctx, addr.MustParse(henry), Settings{SendLimit: &limit}); err != nil {
		t.Fatal(err)
	}
	spend(1_000_000, "ok")
	if err := h.Spend(ctx, "not an address", 1); err == nil {
		t.Error("nonsense could send")
	}
}

// A crash forgets what was sent within writeDelay, and no more.
func TestSpendIsWrittenSoon(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	stored := func() (n int64) {
		h.db.View(ctx, func(tx *store.Tx) error { return tx.QueryRow(`SELECT recipients FROM sent WHERE account = 1`).Scan(&n) })
		return n
	}
	for range 10 {
		if err := h.Spend(ctx, "henry@example.org", 1); err != nil {
			t.Fatal(err)
		}
	}
	commits := h.db.Counters.Commits.Load()
	if n := stored(); n != 0 {
		t.Errorf("written at once: %d", n)
	}
	h.clock.Advance(writeDelay)
	if n := stored(); n != 10 || h.db.Counters.Commits.Load() != commits+1 {
		t.Errorf("after the delay: %d in %d commits", n, h.db.Counters.Commits.Load()-commits)
	}
}

func TestConcurrentSpend(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	var all sync.WaitGroup
	var mu sync.Mutex
	passed := 0
	for range 150 {
		all.Go(func() {
			if h.Spend(ctx, "henry@example.org", 1) == nil {
				mu.Lock()
				passed++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if passed != 100 {
		t.Errorf("%d of 100 passed", passed)
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org", "anna@example.org")
	henry := addr.MustParse("henry@example.org")
	dev, pw, err := h.AddDevice(ctx, henry, "phone", Terms{})
	if err != nil || len(pw) < 26 || dev.Name != "phone" || dev.Created != start || dev.ID == 0 {
		t.Fatalf("%+v, %v", dev, err)
	}
	if list, err := h.Devices(ctx, henry); err != nil || !reflect.DeepEqual(list, []Device{dev}) {
		t.Errorf("%+v, %v", list, err)
	}
	for _, name := range []string{"", "a\nb", strings.Repeat("x", 101)} {
		_, _, err := h.AddDevice(ctx, henry, name, Terms{})
		says(t, "a device's name", err, "a device needs a name")
	}
	_, _, err = h.AddDevice(ctx, addr.MustParse("nobody@example.org"), "phone", Terms{})
	says(t, "nobody's device", err, "there is no account")
	says(t, "another's device", h.RemoveDevice(ctx, addr.MustParse("anna@example.org"), dev.ID), "has no device password")
	says(t, "the password is no device", h.RemoveDevice(ctx, henry, 1), "has no device password")
	if err := h.RemoveDevice(ctx, henry, dev.ID); err != nil {
		t.Error(err)
	}
	if list, err := h.Devices(ctx, henry); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// session is a signed-in-able peer over a real TLS connection.
func (h *house) session(ip string) *envelope.Peer {
	h.t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, h.keys.ServerTLS())
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := errors.Join(tls.Client(b, &tls.Config{InsecureSkipVerify: true}).Handshake(), <-done); err != nil {
		h.t.Fatal(err)
	}
	state := s.ConnectionState()
	return &envelope.Peer{Session: "s", Addr: netip.AddrPortFrom(netip.MustParseAddr(ip), 1), TLS: &state}
}

func (h *house) signIn(login, password, ip string) (string, error) {
	h.t.Helper()
	x, err := h.Start("PLAIN", h.session(ip))
	if err != nil {
		h.t.Fatal(err)
	}
	_, done, err := x.Next(ctx, []byte("\x00"+login+"\x00"+password))
	if done != (err == nil) {
		h.t.Errorf("done %v, %v", done, err)
	}
	return x.Account(), err
}

func (h *house) signInScram(login, password, ip string) (string, error) {
	h.t.Helper()
	x, err := h.Start("SCRAM-SHA-256", h.session(ip))
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := scram.SHA256.NewClient(login, password, "")
	if err != nil {
		h.t.Fatal(err)
	}
	conv := c.NewConversation()
	var challenge []byte
	for {
		response, err := conv.Step(string(challenge))
		if err != nil {
			h.t.Fatal(err)
		}
		var done bool
		if challenge, done, err = x.Next(ctx, []byte(response)); done || err != nil {
			return x.Account(), err
		}
	}
}

// What changes an account is in force at once for signing in, in every
// mechanism, also where the old password is remembered.
func TestSignInFollowsTheAccount(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org", "other.example")
	h.accounts("henry@example.org", "anna@example.org")
	henry := addr.MustParse("henry@example.org")
	network := 0
	expect := func(what, pw string, ok bool) {
		t.Helper()
		for name, f := range map[string]func(string, string, string) (string, error){"PLAIN": h.signIn, "SCRAM": h.signInScram} {
			ip := "192.0.2.1"
			if !ok && name == "SCRAM" { // from elsewhere, so that nothing is slowed
				network++
				ip = fmt.Sprintf("10.0.%d.1", network)
			}
			got, err := f("henry@example.org", pw, ip)
			if (got == "henry@example.org") != ok || !ok && outcome("", err) != "535 5.7.8" {
				t.Errorf("%s, %s: %q, %v", what, name, got, err)
			}
		}
	}
	const next = "another quite good one"
	expect("at first", password, true)
	_, phone, err := h.AddDevice(ctx, henry, "phone", Terms{})
	if err != nil {
		t.Fatal(err)
	}
	expect("beside a device", password, true)
	expect("with the device", phone, true)
	if err := h.SetPassword(ctx, henry, next); err != nil {
		t.Fatal(err)
	}
	expect("the old password", password, false)
	expect("the new password", next, true)
	expect("the device after a new password", phone, true)
	if err := h.Freeze(ctx, henry); err != nil {
		t.Fatal(err)
	}
	expect("frozen", next, false)
	expect("frozen, with the device", phone, false)
	if got := h.resolve("henry@example.org"); got != "henry@example.org" {
		t.Errorf("mail to a frozen account: %q", got)
	}
	if !strings.Contains(h.log.String(), "account is frozen") {
		t.Error("the log does not say why")
	}
	if err := h.Release(ctx, henry); err != nil {
		t.Fatal(err)
	}
	expect("released", next, true)
	devices, err := h.Devices(ctx, henry)
	if err != nil || len(devices) != 1 {
		t.Fatal(devices, err)
	}
	if err := h.RemoveDevice(ctx, henry, devices[0].ID); err != nil {
		t.Fatal(err)
	}
	expect("the device that was taken away", phone, false)
	h.restart()
	expect("after a restart", next, true)
	if err := h.RemoveAccount(ctx, henry); err != nil {
		t.Fatal(err)
	}
	expect("removed", next, false)
}

func TestLogin(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org", "josé@example.org")
	h.alias("info@example.org", "henry@example.org")
	for login, want := range map[string]string{
		"henry@example.org": "henry@example.org", "HENRY@EXAMPLE.ORG": "henry@example.org",
		"henry": "henry@example.org", "Henry": "henry@example.org", // the only domain
		"jose\u0301": "josé@example.org", `"henry"@example.org`: "henry@example.org",
		"info@example.org": "", "henry+x@example.org": "", "postmaster@example.org": "", "henry@mx.example.net": "",
		"henry@remote.example": "", "henry@": "", "@example.org": "", " henry": "", "": "", "henry@example.org ": "",
	} {
		_, p, err := desk{h.Directory}.Login(ctx, login)
		got := ""
		if p != nil {
			got = p.Address.String()
		}
		if got != want || err != nil {
			t.Errorf("%q is %q instead of %q, %v", login, got, want, err)
		}
	}
	h.domain("other.example")
	if _, p, _ := (desk{h.Directory}).Login(ctx, "henry"); p != nil {
		t.Error("a bare name with two domains")
	}
}

// A password that was hashed for an account is not given to another that got
// its address meanwhile.
func TestAccountIsReplacedWhileHashing(t *testing.T) {
	t.Parallel()
	var hook func()
	h := newHouse(t, func(o *Options) { o.Random = &hooked{&hook} })
	h.domain("example.org")
	h.accounts("henry@example.org")
	henry := addr.MustParse("henry@example.org")
	replace := func() {
		if err := h.RemoveAccount(ctx, henry); err != nil {
			t.Error(err)
		}
		h.accounts("henry@example.org")
	}
	hook = replace
	says(t, "set password", h.SetPassword(ctx, henry, "the first owner's cupboard"), "there is no account")
	hook = replace
	_, _, err := h.AddDevice(ctx, henry, "the first owner's", Terms{})
	says(t, "add device", err, "there is no account")
	if got, err := h.signIn("henry@example.org", password, "192.0.2.1"); got == "" {
		t.Errorf("the second owner: %v", err)
	}
}

// hooked is a source of randomness that calls its hook once when it is read.
type hooked struct{ hook *func() }

func (r *hooked) Read(p []byte) (int, error) {
	if f := *r.hook; f != nil {
		*r.hook = nil
		f()
	}
	return rand.Read(p)
}

// When a credential was used is kept, to the hour, and nobody waits for it.
func TestLastUse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	henry := addr.MustParse("henry@example.org")
	_, pw, err := h.AddDevice(ctx, henry, "phone", Terms{})
	if err != nil {
		t.Fatal(err)
	}
	use := func(want time.Time) {
		t.Helper()
		if _, err := h.signIn("henry@example.org", pw, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		h.clock.Advance(writeDelay)
		list, err := h.Devices(ctx, henry)
		if err != nil || len(list) != 1 || !list[0].Used.Equal(want) {
			t.Errorf("%+v, %v; want %v", list, err, want)
		}
	}
	use(start)
	h.clock.Advance(30 * time.Minute)
	use(start)
	h.clock.Advance(30 * time.Minute)
	use(start.Add(time.Hour + writeDelay*2))
}

// The store failing is nobody's fault but ours: temporary, and no sign of
// whether the account exists.
func TestStoreFailure(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	session := h.session("192.0.2.1")
	h.db.Close()
	for _, login := range []string{"henry@example.org", "nobody@example.org"} {
		x, err := h.Start("PLAIN", session)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = x.Next(ctx, []byte("\x00"+login+"\x00"+password))
		if got := outcome("", err); got != "454 4.7.0" {
			t.Errorf("%s: %s", login, got)
		}
	}
	if _, err := h.Resolve(ctx, addr.MustParse("henry@example.org")); envelope.AsError(err) == nil || envelope.AsError(err).Code != 451 {
		t.Errorf("%v", err)
	}
	if _, err := h.Find(ctx, addr.MustParse("henry@example.org")); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// Nobody can have an address where the DNS says that nobody has one.
func TestParkedDomains(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org", "example.net", "example.com")
	h.accounts("anna@example.org")
	ctx := t.Context()
	says(t, "one with people", h.Park(ctx, "example.org", true), "has accounts or aliases")
	if err := h.AddAlias(ctx, addr.MustParse("info@example.com"), []addr.Address{addr.MustParse("anna@example.org")}); err != nil {
		t.Fatal(err)
	}
	says(t, "one with aliases", h.Park(ctx, "example.com", true), "has accounts or aliases")
	says(t, "an unknown one", h.Park(ctx, "other.example", true), "there is no domain")
	if err := h.Park(ctx, "example.net", true); err != nil {
		t.Fatal(err)
	}
	if d, err := h.Domain(ctx, "example.net"); err != nil || !d.Parked {
		t.Errorf("%+v, %v", d, err)
	}
	_, err := h.AddAccount(ctx, addr.MustParse("x@example.net"), password, User)
	says(t, "an account", err, "nobody sends or gets mail")
	if err := h.Park(ctx, "example.net", false); err != nil {
		t.Fatal(err)
	}
	if d, err := h.Domain(ctx, "example.net"); err != nil || d.Parked {
		t.Errorf("%+v, %v", d, err)
	}
	h.accounts("x@example.net")
}
