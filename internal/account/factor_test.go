package account

import (
	"encoding/base32"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatepost/internal/account/factor/factortest"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

// browser is somebody on a page.
func browser(ip string) activity.Client {
	return activity.Client{Protocol: "web", Address: netip.MustParseAddr(ip), Name: "Mozilla/5.0"}
}

// elsewhere is somebody from a network that nobody came from before, where
// nothing is slowed.
var elsewhere = func() func() activity.Client {
	var n atomic.Int64
	return func() activity.Client {
		i := n.Add(1)
		return browser(fmt.Sprintf("10.%d.%d.1", i/256, i%256))
	}
}()

// app is the app of a person.
type app struct {
	h      *house
	secret []byte
	off    time.Duration // its clock
}

// code returns what it shows.
func (a *app) code() string { return factortest.Code(a.secret, a.h.clock.Now().Add(a.off)) }

// enrol gives an account an app and returns it with its recovery codes. The
// code of now is used up.
func (h *house) enrol(address string) (*app, []string) {
	h.t.Helper()
	a := addr.MustParse(address)
	setup, err := h.TOTPStart(ctx, a)
	if err != nil {
		h.t.Fatal(err)
	}
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(setup.Secret)
	if err != nil || !strings.Contains(setup.URI, setup.Secret) {
		h.t.Fatal(setup, err)
	}
	p := &app{h: h, secret: secret}
	codes, err := h.TOTPConfirm(ctx, a, setup.State, "phone", p.code(), elsewhere())
	if err != nil {
		h.t.Fatal(err)
	}
	return p, codes
}

// A password and a code, both right, are what it takes; a code is good once,
// also after a restart.
func TestSignInWithCode(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org")
	p, codes := h.enrol("anna@example.org")
	if len(codes) != 10 {
		t.Errorf("%d recovery codes", len(codes))
	}
	try := func(what, pw, code string, ok bool) {
		t.Helper()
		acc, err := h.Directory.SignIn(ctx, "anna@example.org", pw, code, elsewhere())
		if ok != (err == nil) || ok && (acc.Address.String() != "anna@example.org" || acc.Factors != 1) ||
			!ok && outcome("", err) != "535 5.7.8" {
			t.Errorf("%s: %+v, %v", what, acc, err)
		}
	}
	try("the code that it was enrolled with", password, p.code(), false)
	h.clock.Advance(time.Minute)
	try("no code", password, "", false)
	try("another code", password, "000000", false)
	try("a wrong password", password+"x", p.code(), false)
	try("both", password, p.code(), true)
	try("again", password, p.code(), false)
	used := p.code()
	h.restart()
	try("again after a restart", password, used, false)
	h.clock.Advance(30 * time.Second)
	try("the next", password, p.code(), true)
	h.clock.Advance(30 * time.Second)
	try("the one before, late", password, used, false)

	// Its clock runs slow: what is learned of it is kept over a restart, and it
	// is not locked out once it is set right.
	for range 4 {
		p.off -= 30 * time.Second
		h.clock.Advance(90 * time.Second)
		try(fmt.Sprint("a clock that is off by ", p.off), password, p.code(), true)
		h.restart()
	}
	p.off = 0
	h.clock.Advance(time.Minute)
	try("its clock was set right", password, p.code(), true)
	p.off = -3 * time.Minute
	h.clock.Advance(10 * time.Minute)
	try("a clock that is suddenly off", password, p.code(), false)
}

// The same code at the same time opens once.
func TestCodeOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org")
	p, codes := h.enrol("anna@example.org")
	h.clock.Advance(time.Minute)
	for _, code := range []string{p.code(), codes[3]} {
		var in atomic.Int64
		var all sync.WaitGroup
		for range 12 {
			c := elsewhere()
			all.Go(func() {
				if _, err := h.Directory.SignIn(ctx, "anna@example.org", password, code, c); err == nil {
					in.Add(1)
				}
			})
		}
		all.Wait()
		if in.Load() != 1 {
			t.Errorf("it opened %d times", in.Load())
		}
	}
}

// Whoever has the password cannot try all codes, from however many networks;
// what cannot be guessed opens all the while.
func TestGuessedCodes(t *testing.T) {
	t.Parallel()
	r := &reviewed{}
	h := newHouse(t, func(o *Options) { o.Activity = r })
	h.domain("example.org")
	h.accounts("anna@example.org")
	p, codes := h.enrol("anna@example.org")
	d, _ := h.passkey("anna@example.org", "laptop")
	h.clock.Advance(time.Minute)
	in := func(pw, code string) bool { // however long it takes
		t.Helper()
		c := elsewhere()
		done := make(chan bool)
		go func() {
			_, err := h.Directory.SignIn(ctx, "anna@example.org", pw, code, c)
			done <- err == nil
		}()
		for {
			select {
			case ok := <-done:
				return ok
			case <-time.After(5 * time.Millisecond):
				h.clock.Advance(2 * time.Second)
			}
		}
	}
	wrong := "000000"
	if p.code() == wrong {
		wrong = "000001"
	}
	for range 6 {
		if in(password+"x", wrong) || in(password, "") {
			t.Error("half was enough")
		}
	}
	h.clock.Advance(2 * time.Hour) // nothing is slowed
	if !in(password, p.code()) {
		t.Error("wrong passwords, and codes that are missing, shut the owner out")
	}
	h.clock.Advance(time.Minute)
	for range 10 {
		if in(password, wrong) {
			t.Error("a wrong code was right")
		}
	}
	if in(password, p.code()) {
		t.Error("more codes are looked at")
	}
	if !in(password, codes[0]) {
		t.Error("a recovery code does not open")
	}
	if got, err := h.show("anna@example.org", d); got == "" {
		t.Error(err)
	}
	if in(password, p.code()) {
		t.Error("a recovery code made room for guesses")
	}
	h.clock.Advance(time.Hour)
	if !in(password, p.code()) {
		t.Error("the owner is shut out for longer")
	}
}

// Each recovery code opens once, with the password, and is told of.
func TestRecoveryCodes(t *testing.T) {
	t.Parallel()
	r := &reviewed{}
	h := newHouse(t, func(o *Options) { o.Activity = r })
	h.domain("example.org")
	h.accounts("anna@example.org", "ben@example.org")
	anna := addr.MustParse("anna@example.org")
	_, codes := h.enrol("anna@example.org")
	_, others := h.enrol("ben@example.org")
	in := func(pw, code string) bool {
		t.Helper()
		_, err := h.Directory.SignIn(ctx, "anna@example.org", pw, code, elsewhere())
		return err == nil
	}
	left := func() int {
		t.Helper()
		all, err := h.Factors(ctx, anna)
		if err != nil {
			t.Fatal(err)
		}
		return all.Codes
	}
	if in(password+"x", codes[0]) || in(password, others[0]) || left() != 10 {
		t.Error("a recovery code opens without the password, or is another's")
	}
	for i, code := range codes[:3] {
		if !in(password, strings.ToUpper(code)) || in(password, code) || left() != 9-i {
			t.Errorf("%d does not open once; %d are left", i, left())
		}
	}
	if want := "recovery-code-used anna@example.org 7"; !slices.Contains(r.list, want) {
		t.Errorf("%q is not in %q", want, r.list)
	}
	r.full = true // what cannot be told is not done
	if in(password, codes[3]) || left() != 7 {
		t.Error("a recovery code was used and not told of")
	}
	r.full = false
	fresh, err := h.RecoveryCodes(ctx, anna, elsewhere())
	if err != nil || len(fresh) != 10 || left() != 10 {
		t.Fatal(fresh, err)
	}
	if in(password, codes[4]) || !in(password, fresh[4]) {
		t.Error("the former ones open, or the new ones do not")
	}
	kept := func(tx *store.Tx) error {
		return tx.Texts(`SELECT hex(sum), '' FROM recovery_code`, func(sum, _ string) {
			for _, code := range slices.Concat(codes, fresh) {
				if strings.Contains(sum, strings.ToUpper(fmt.Sprintf("%x", strings.ReplaceAll(code, "-", "")))) {
					t.Error("a code is in the store")
				}
			}
		})
	}
	if err := h.db.View(ctx, kept); err != nil {
		t.Error(err)
	}
	if strings.Contains(h.log.String(), codes[0]) {
		t.Error("the log holds a code")
	}
}

// With a second factor the password opens no mail, by no mechanism, and leaves
// no SCRAM keys; device passwords go on. Without it all is as it was.
func TestMailWithFactor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org")
	anna := addr.MustParse("anna@example.org")
	_, device, err := h.AddDevice(ctx, anna, "phone", Terms{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	expect := func(what, pw string, plain, scram bool) {
		t.Helper()
		n++
		ip := fmt.Sprintf("10.9.%d.1", n)
		if got, err := h.signIn("anna@example.org", pw, ip); (got != "") != plain || !plain && outcome("", err) != "535 5.7.8" {
			t.Errorf("%s: PLAIN %q, %v", what, got, err)
		}
		if got, err := h.signInScram("anna@example.org", pw, ip); (got != "") != scram || !scram && outcome("", err) != "535 5.7.8" {
			t.Errorf("%s: SCRAM %q, %v", what, got, err)
		}
	}
	scram := func() (n int64) {
		t.Helper()
		if err := h.db.View(ctx, func(tx *store.Tx) error {
			return tx.QueryRow(`SELECT COUNT(*) FROM credential WHERE kind = 'password' AND scram <> ?`, []byte{}).Scan(&n)
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	expect("before", password, true, true) // and it is remembered now
	h.enrol("anna@example.org")
	expect("with a factor", password, false, false)
	expect("a device", device, true, true)
	if err := h.SetPassword(ctx, anna, words(1)); err != nil || scram() != 0 {
		t.Errorf("%v; %d SCRAM keys", err, scram())
	}
	expect("a new password", words(1), false, false)
	all, err := h.Factors(ctx, anna)
	if err != nil || len(all.List) != 1 || all.List[0].Kind != "totp" || all.List[0].Name != "phone" {
		t.Fatalf("%+v, %v", all, err)
	}
	if err := h.RemoveFactor(ctx, anna, all.List[0].ID, elsewhere()); err != nil {
		t.Fatal(err)
	}
	expect("without it", words(1), true, false)
	if err := h.SetPassword(ctx, anna, words(2)); err != nil {
		t.Fatal(err)
	}
	expect("and a new password", words(2), true, true)
	if all, err := h.Factors(ctx, anna); err != nil || len(all.List) != 0 || all.Codes != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

// Who owes a factor opens no mail with the password, and signs in on pages all
// the same, to add one.
func TestOwes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org", "admin@example.org")
	_, device, err := h.AddDevice(ctx, addr.MustParse("admin@example.org"), "phone", Terms{})
	if err != nil {
		t.Fatal(err)
	}
	owes := func(a string) bool {
		t.Helper()
		acc, err := h.Account(ctx, addr.MustParse(a))
		if err != nil {
			t.Fatal(err)
		}
		return h.Owes(acc)
	}
	if owes("admin@example.org") {
		t.Error("nobody must have one, and somebody owes it")
	}
	if got, err := h.signIn("admin@example.org", password, "192.0.2.1"); got == "" {
		t.Error(err)
	}
	h.SetFactorRoles([]Role{Admin})
	if !owes("admin@example.org") || owes("anna@example.org") {
		t.Error("not those of the role owe it")
	}
	for name, f := range map[string]func(string, string, string) (string, error){"PLAIN": h.signIn, "SCRAM": h.signInScram} {
		if got, _ := f("admin@example.org", password, "192.0.2.1"); got != "" {
			t.Errorf("%s opens mail of who owes one", name)
		}
		if got, err := f("admin@example.org", device, "192.0.2.1"); got == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if acc, err := h.Directory.SignIn(ctx, "admin@example.org", password, "", elsewhere()); err != nil || !h.Owes(acc) {
		t.Errorf("%+v, %v", acc, err)
	}
	h.enrol("admin@example.org")
	if owes("admin@example.org") {
		t.Error("it has one, and owes it")
	}
}

// What is wrong cannot be told apart: the words are the same, Argon2id runs
// once, nothing is written, and the delays grow alike.
func TestOneRefusal(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org", "ben@example.org", "cold@example.org")
	p, codes := h.enrol("anna@example.org")
	_, colds := h.enrol("cold@example.org")
	if err := h.Freeze(ctx, addr.MustParse("cold@example.org")); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(time.Minute)
	if _, err := h.Directory.SignIn(ctx, "anna@example.org", password, p.code(), elsewhere()); err != nil {
		t.Fatal(err) // and the password is known to be right
	}
	replayed := p.code()
	h.clock.Advance(2 * time.Second) // what is written behind
	for what, try := range map[string][3]string{
		"no code":         {"anna@example.org", password, ""},
		"a wrong code":    {"anna@example.org", password, "123123"},
		"a used code":     {"anna@example.org", password, replayed},
		"wrong recovery":  {"anna@example.org", password, "0000-0000-0000-0000"},
		"wrong password":  {"anna@example.org", password + "x", ""},
		"only recovery":   {"anna@example.org", password + "x", codes[0]},
		"no factor":       {"ben@example.org", password + "x", "123123"},
		"nobody":          {"zoe@example.org", password, "123123"},
		"no domain":       {"zoe@elsewhere.example", password, ""},
		"no address":      {"?", password, ""},
		"frozen":          {"cold@example.org", password, colds[1]},
		"frozen and half": {"cold@example.org", password, ""},
	} {
		c := elsewhere()
		for i := range 3 { // three are free
			hashes, updates := h.Counters.Hashes.Load(), h.db.Counters.Updates.Load()
			acc, err := h.Directory.SignIn(ctx, try[0], try[1], try[2], c)
			var e *envelope.Error
			if !errors.As(err, &e) || e.Reply.Error() != "535 5.7.8 authentication credentials invalid" || acc != (Account{}) {
				t.Errorf("%s: %+v, %v", what, acc, err)
			}
			if n := h.Counters.Hashes.Load() - hashes; n != 1 {
				t.Errorf("%s, try %d: %d runs of Argon2id", what, i, n)
			}
			if n := h.db.Counters.Updates.Load() - updates; n != 0 {
				t.Errorf("%s, try %d: %d writes", what, i, n)
			}
		}
		// The fourth waits, whatever was wrong.
		timers := h.clock.Pending()
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.Directory.SignIn(ctx, try[0], try[1], try[2], c)
		}()
		for waiting := false; !waiting; waiting = h.clock.Pending() > timers {
			select {
			case <-done:
				t.Fatalf("%s: not slowed", what)
			case <-time.After(time.Millisecond):
			}
		}
		h.clock.Advance(time.Second)
		<-done
	}
}

// What a client for mail hears and what it costs is the same as well.
func TestMailTellsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org")
	h.enrol("anna@example.org")
	for i, pw := range []string{password, password + "x"} {
		for try := range 2 {
			before := h.Counters.Hashes.Load()
			_, err := h.signIn("anna@example.org", pw, fmt.Sprintf("10.8.%d.1", i))
			var e *envelope.Error
			if !errors.As(err, &e) || e.Reply.Error() != "535 5.7.8 authentication credentials invalid" {
				t.Errorf("%d: %v", i, err)
			}
			if n := h.Counters.Hashes.Load() - before; n != 1 {
				t.Errorf("%d, try %d: %d runs of Argon2id", i, try, n)
			}
		}
	}
}

// What cannot be enrolled, and how many can be.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	r := &reviewed{}
	h := newHouse(t, func(o *Options) { o.Activity = r })
	h.domain("example.org")
	h.accounts("anna@example.org", "ben@example.org")
	anna, ben := addr.MustParse("anna@example.org"), addr.MustParse("ben@example.org")
	begin := func() (AppSetup, *app) {
		t.Helper()
		s, err := h.TOTPStart(ctx, anna)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(s.Secret)
		if err != nil {
			t.Fatal(err)
		}
		return s, &app{h: h, secret: secret}
	}
	s, p := begin()
	confirm := func(a addr.Address, name, code string) error {
		_, err := h.TOTPConfirm(ctx, a, s.State, name, code, elsewhere())
		return err
	}
	says(t, "a wrong code", confirm(anna, "phone", "000000"), "not the code")
	says(t, "another's", confirm(ben, "phone", p.code()), "begin again")
	says(t, "no name", confirm(anna, "", p.code()), "needs a name")
	says(t, "a name that moves the cursor", confirm(anna, "\x1b[2J", p.code()), "needs a name")
	if all, err := h.Factors(ctx, anna); err != nil || len(all.List) != 0 || all.Codes != 0 {
		t.Errorf("something is kept: %+v, %v", all, err)
	}
	if err := confirm(anna, "phone", p.code()); err != nil {
		t.Fatal(err)
	}
	says(t, "twice", confirm(anna, "phone", p.code()), "added already")
	h.clock.Advance(11 * time.Minute)
	says(t, "late", confirm(anna, "phone", p.code()), "begin again")
	for range 2 {
		s, p = begin()
		codes, err := h.TOTPConfirm(ctx, anna, s.State, "tablet", p.code(), elsewhere())
		if err != nil || codes != nil {
			t.Errorf("recovery codes are made once: %v, %v", codes, err)
		}
	}
	_, err := h.TOTPStart(ctx, anna)
	says(t, "the fourth", err, "has 3 apps, which is the most")
	_, err = h.RecoveryCodes(ctx, ben, elsewhere())
	says(t, "codes without a factor", err, "has no second factor")
	says(t, "one that is not there", h.RemoveFactor(ctx, anna, 99, elsewhere()), "no second factor 99")
	says(t, "none that is there", h.RemoveFactors(ctx, ben, elsewhere()), "has no second factor")
	says(t, "nobody", h.RemoveFactors(ctx, addr.MustParse("zoe@example.org"), elsewhere()), "there is no account")
	if err := h.RemoveFactors(ctx, anna, elsewhere()); err != nil {
		t.Fatal(err)
	}
	if all, err := h.Factors(ctx, anna); err != nil || len(all.List) != 0 || all.Codes != 0 {
		t.Errorf("something is left: %+v, %v", all, err)
	}
	want := []string{"factor-added anna@example.org app phone", "factor-added anna@example.org app tablet", "factor-added anna@example.org app tablet",
		"factor-removed anna@example.org app phone", "factor-removed anna@example.org app tablet", "factor-removed anna@example.org app tablet"}
	if got := slices.DeleteFunc(r.list, func(s string) bool { return !strings.HasPrefix(s, "factor") }); !slices.Equal(got, want) {
		t.Errorf("told %q", got)
	}
	// An account that is gone leaves nothing.
	h.enrol("ben@example.org")
	if err := h.RemoveAccount(ctx, ben); err != nil {
		t.Fatal(err)
	}
	var rows int64
	if err := h.db.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT (SELECT COUNT(*) FROM factor) + (SELECT COUNT(*) FROM recovery_code)`).Scan(&rows)
	}); err != nil || rows != 0 {
		t.Errorf("%d rows are left, %v", rows, err)
	}
}
