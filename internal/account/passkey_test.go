package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatepost/internal/account/factor"
	"gatepost/internal/account/factor/factortest"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/store"
)

const origin = "https://mx.example.net"

// passkey gives an account a passkey, which may be changed before.
func (h *house) passkey(address, name string, change ...func(*factortest.Device)) (*factortest.Device, []string) {
	h.t.Helper()
	a := addr.MustParse(address)
	invitation, state, err := h.PasskeyAdd(ctx, a)
	if err != nil {
		h.t.Fatal(err)
	}
	d := factortest.NewDevice(h.t, origin)
	for _, f := range change {
		f(d)
	}
	codes, err := h.PasskeyConfirm(ctx, a, state, name, d.Make(invitation), elsewhere())
	if err != nil {
		h.t.Fatal(err)
	}
	return d, codes
}

// show signs in with a passkey; what it says can be changed before.
func (h *house) show(login string, d *factortest.Device) (string, error) {
	h.t.Helper()
	question, state, err := h.PasskeyStart(ctx, login)
	if err != nil {
		h.t.Fatal(err)
	}
	acc, err := h.PasskeySignIn(ctx, state, d.Sign(question), elsewhere())
	return acc.Address.String(), err
}

// synced makes a passkey one that does not count, as those are that are on
// several devices.
func synced(d *factortest.Device) { d.Counter = 0 }

func newPasskeyHouse(t *testing.T) *house {
	t.Helper()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("anna@example.org", "ben@example.org")
	return h
}

// A passkey signs in with a name or without, as often as one likes, and after
// a restart; it is a second factor like another.
func TestPasskey(t *testing.T) {
	t.Parallel()
	h := newPasskeyHouse(t)
	d, codes := h.passkey("anna@example.org", "laptop")
	if len(codes) != 10 {
		t.Errorf("%d recovery codes", len(codes))
	}
	still, _ := h.passkey("anna@example.org", "cloud", synced)
	in := func(what string) {
		t.Helper()
		for _, login := range []string{"", "anna@example.org", "ANNA@example.org", "anna"} {
			for _, dev := range []*factortest.Device{d, still} {
				if got, err := h.show(login, dev); got != "anna@example.org" || err != nil {
					t.Errorf("%s, %q: %q, %v", what, login, got, err)
				}
			}
		}
	}
	in("at first")
	h.restart()
	in("after a restart")
	if got, err := h.signIn("anna@example.org", password, "10.3.1.1"); got != "" || outcome("", err) != "535 5.7.8" {
		t.Errorf("the password opens mail: %v", err)
	}
	if _, err := h.Directory.SignIn(ctx, "anna@example.org", password, "", elsewhere()); err == nil {
		t.Error("the password alone opens a page")
	}
	if acc, err := h.Directory.SignIn(ctx, "anna@example.org", password, codes[0], elsewhere()); err != nil || acc.Factors != 2 {
		t.Errorf("a recovery code: %+v, %v", acc, err)
	}
	all, err := h.Factors(ctx, addr.MustParse("anna@example.org"))
	if err != nil || len(all.List) != 2 || all.List[0].Name != "laptop" || all.List[0].Site != "mx.example.net" || all.List[0].Used.IsZero() || all.Codes != 9 {
		t.Errorf("%+v, %v", all, err)
	}
	if err := h.RemoveFactor(ctx, addr.MustParse("anna@example.org"), all.List[0].ID, elsewhere()); err != nil {
		t.Fatal(err)
	}
	if got, err := h.show("", d); got != "" && err == nil {
		t.Error("one that was taken away signs in")
	}
	if err := h.Freeze(ctx, addr.MustParse("anna@example.org")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.show("", still); err == nil {
		t.Error("a frozen account signs in")
	}
	if list := h.found(h.keys); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	if sites, err := h.PasskeySites(ctx); err != nil || len(sites) != 1 || sites["mx.example.net"] != 1 {
		t.Errorf("%v, %v", sites, err)
	}
}

// What attacks do to an answer, and the one refusal of them all.
func TestPasskeyRefused(t *testing.T) {
	t.Parallel()
	h := newPasskeyHouse(t)
	bens, _ := h.passkey("ben@example.org", "phone")
	var d *factortest.Device
	for what, try := range map[string]func() (string, []byte){
		"another origin":      func() (string, []byte) { d.Origin = "https://mx.example.net.evil.example"; return h.answer("", d) },
		"in the clear":        func() (string, []byte) { d.Origin = "http://mx.example.net"; return h.answer("", d) },
		"another port":        func() (string, []byte) { d.Origin = "https://mx.example.net:9999"; return h.answer("", d) },
		"another site":        func() (string, []byte) { d.Site = "evil.example"; return h.answer("", d) },
		"another challenge":   func() (string, []byte) { d.Challenge = strings.Repeat("A", 43); return h.answer("", d) },
		"not verified":        func() (string, []byte) { d.Flags = factortest.Present; return h.answer("", d) },
		"nobody there":        func() (string, []byte) { d.Flags = 0; return h.answer("", d) },
		"the counter stays":   func() (string, []byte) { d.Counter--; return h.answer("", d) },
		"the counter is gone": func() (string, []byte) { d.Counter = 0; return h.answer("", d) },
		"another holder":      func() (string, []byte) { d.Holder = "AAAA"; return h.answer("", d) },
		"no holder":           func() (string, []byte) { d.Holder = "none"; return h.answer("", d) },
		"another's passkey":   func() (string, []byte) { return h.answer("anna@example.org", bens) },
		"another's id":        func() (string, []byte) { d.ID = bens.ID; return h.answer("", d) },
		"for a decoy":         func() (string, []byte) { return h.answer("zoe@example.org", d) },
		"one never made":      func() (string, []byte) { return h.answer("", factortest.NewDevice(t, origin)) },
		"a state of another": func() (string, []byte) {
			_, answer := h.answer("", d)
			state, _ := h.answer("", d)
			return state, answer
		},
		"a state for adding": func() (string, []byte) {
			invitation, state, err := h.PasskeyAdd(ctx, addr.MustParse("anna@example.org"))
			if err != nil {
				t.Fatal(err)
			}
			return state, d.Sign(slices.Concat([]byte(`{"rpId":"mx.example.net",`), invitation[1:]))
		},
		"too late":  func() (string, []byte) { s, a := h.answer("", d); h.clock.Advance(5 * time.Minute); return s, a },
		"restarted": func() (string, []byte) { s, a := h.answer("", d); h.restart(); return s, a },
		"no state":  func() (string, []byte) { _, a := h.answer("", d); return "", a },
		"no answer": func() (string, []byte) { s, _ := h.answer("", d); return s, nil },
		"too long":  func() (string, []byte) { s, a := h.answer("", d); return s, append(a, make([]byte, 32<<10)...) },
	} {
		if err := h.RemoveFactors(ctx, addr.MustParse("anna@example.org"), elsewhere()); (err == nil) != (d != nil) {
			t.Fatal(err)
		}
		d, _ = h.passkey("anna@example.org", "laptop")
		if got, err := h.show("anna@example.org", d); got != "anna@example.org" {
			t.Fatal(err)
		}
		state, answer := try()
		acc, err := h.PasskeySignIn(ctx, state, answer, elsewhere())
		var e *envelope.Error
		if !errors.As(err, &e) || e.Reply.Error() != "535 5.7.8 authentication credentials invalid" || acc != (Account{}) {
			t.Errorf("%s: %+v, %v", what, acc, err)
		}
	}
	// The same answer twice, also of one that does not count.
	d, _ = h.passkey("anna@example.org", "cloud", synced)
	state, answer := h.answer("", d)
	forged := func() []byte {
		var v struct {
			ID, RawID, Type string
			Response        map[string]string
		}
		if err := json.Unmarshal(answer, &v); err != nil {
			t.Fatal(err)
		}
		s := []byte(v.Response["signature"])
		if s[20]++; s[20] == '[' || s[20] == '{' || s[20] == ':' || s[20] == '.' || s[20] == '`' {
			s[20] = 'b'
		}
		v.Response["signature"] = string(s)
		b, err := json.Marshal(map[string]any{"id": v.ID, "rawId": v.RawID, "type": v.Type, "response": v.Response})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	if _, err := h.PasskeySignIn(ctx, state, forged, elsewhere()); err == nil {
		t.Error("a changed signature signs in")
	}
	if _, err := h.PasskeySignIn(ctx, state, answer, elsewhere()); err != nil {
		t.Error(err)
	}
	if _, err := h.PasskeySignIn(ctx, state, answer, elsewhere()); err == nil {
		t.Error("an answer signs in twice")
	}
	if strings.Contains(h.log.String(), state) {
		t.Error("the log holds a state")
	}
}

// answer asks and lets a device answer.
func (h *house) answer(login string, d *factortest.Device) (state string, answer []byte) {
	h.t.Helper()
	question, state, err := h.PasskeyStart(ctx, login)
	if err != nil {
		h.t.Fatal(err)
	}
	return state, d.Sign(question)
}

// What the list of passkeys tells: nothing of whether there is an account, or
// what it has.
func TestDecoys(t *testing.T) {
	t.Parallel()
	h := newPasskeyHouse(t)
	d, _ := h.passkey("anna@example.org", "laptop")
	ask := func(login string) (ids []string, shape string) {
		t.Helper()
		b, _, err := h.PasskeyStart(ctx, login)
		if err != nil {
			t.Fatal(err)
		}
		var o map[string]any
		if err := json.Unmarshal(b, &o); err != nil {
			t.Fatal(err)
		}
		list, _ := o["allowCredentials"].([]any)
		keys := []string{}
		for k := range o {
			keys = append(keys, k)
		}
		for _, l := range list {
			c := l.(map[string]any)
			ids = append(ids, c["id"].(string))
			for k := range c {
				keys = append(keys, "credential "+k)
			}
		}
		slices.Sort(keys)
		return ids, fmt.Sprint(slices.Compact(keys), o["userVerification"], o["rpId"], o["timeout"])
	}
	real, shape := ask("anna@example.org")
	if len(real) != 1 || len(real[0]) != 43 || len(d.ID) != 32 {
		t.Errorf("%q", real)
	}
	// Whoever has more than are made up for anybody is not known by that.
	h.passkey("anna@example.org", "phone")
	h.passkey("anna@example.org", "key")
	if some, _ := ask("anna@example.org"); len(some) != factor.MaxDecoys || slices.Contains(some, real[0]) {
		t.Errorf("%q of three", some)
	}
	sizes := map[int]int{}
	for i := range 60 {
		name := fmt.Sprintf("nobody%d@example.org", i)
		switch i {
		case 0:
			name = "ben@example.org" // an account without a passkey
		case 1:
			name = "somebody@elsewhere.example"
		case 2:
			name = "no address at all"
		}
		ids, s := ask(name)
		again, _ := ask(strings.ToUpper(name))
		if i == 2 {
			again, _ = ask(name)
		}
		if len(ids) < 1 || len(ids) > 2 || s != shape || !slices.Equal(ids, again) {
			t.Errorf("%s: %q, %q, %s", name, ids, again, s)
		}
		sizes[len(ids[0])]++
	}
	h.restart()
	first, _ := ask("nobody7@example.org")
	h.clock.Advance(1000 * time.Hour)
	if later, _ := ask("nobody7@example.org"); !slices.Equal(first, later) {
		t.Error("they change with time")
	}
	if len(sizes) < 3 || sizes[43] == 0 {
		t.Errorf("they are of sizes %v", sizes)
	}
	if ids, _ := ask(""); len(ids) != 0 {
		t.Errorf("without a name: %q", ids)
	}
}

// What cannot be added.
func TestPasskeyAdd(t *testing.T) {
	t.Parallel()
	h := newPasskeyHouse(t)
	anna, ben := addr.MustParse("anna@example.org"), addr.MustParse("ben@example.org")
	var d *factortest.Device
	confirm := func(a addr.Address, change func(), late time.Duration) error {
		t.Helper()
		invitation, state, err := h.PasskeyAdd(ctx, anna)
		if err != nil {
			t.Fatal(err)
		}
		d = factortest.NewDevice(t, origin)
		change()
		response := d.Make(invitation)
		h.clock.Advance(late)
		_, err = h.PasskeyConfirm(ctx, a, state, "laptop", response, elsewhere())
		return err
	}
	says(t, "another's", confirm(ben, func() {}, 0), "begin again")
	says(t, "too late", confirm(anna, func() {}, 5*time.Minute), "begin again")
	says(t, "another origin", confirm(anna, func() { d.Origin = "https://evil.example" }, 0), "not accepted")
	says(t, "another site", confirm(anna, func() { d.Site = "evil.example" }, 0), "not accepted")
	says(t, "not verified", confirm(anna, func() { d.Flags = factortest.Present }, 0), "not accepted")
	says(t, "another challenge", confirm(anna, func() { d.Challenge = "AAAA" }, 0), "not accepted")
	if all, err := h.Factors(ctx, anna); err != nil || len(all.List) != 0 || all.Codes != 0 {
		t.Errorf("something is kept: %+v, %v", all, err)
	}
	d, _ = h.passkey("ben@example.org", "phone")
	id := d.ID
	says(t, "one that is another's", confirm(anna, func() { d.ID = id }, 0), "added already")
	invitation, state, err := h.PasskeyAdd(ctx, anna)
	if err != nil {
		t.Fatal(err)
	}
	response := factortest.NewDevice(t, origin).Make(invitation)
	if _, err := h.PasskeyConfirm(ctx, anna, state, "laptop", response, elsewhere()); err != nil {
		t.Fatal(err)
	}
	_, err = h.PasskeyConfirm(ctx, anna, state, "laptop", response, elsewhere())
	says(t, "the same answer", err, "not accepted")
	if _, err := h.PasskeyConfirm(ctx, anna, state, "laptop", make([]byte, 1<<20), elsewhere()); err == nil {
		t.Error("a megabyte is read")
	}
	for range 19 {
		h.passkey("anna@example.org", "one of many")
	}
	_, _, err = h.PasskeyAdd(ctx, anna)
	says(t, "too many", err, "has 20 second factors")

	// A passkey of a row that was copied is nobody's.
	if err := h.db.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(`UPDATE factor SET account = 1 WHERE account = 2`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.show("", d); err == nil {
		t.Error("a passkey was moved to another account and signs in")
	}
	if list := h.found(h.keys); len(list) != 1 || !strings.Contains(list[0].Text, "cannot be unsealed") {
		t.Errorf("%+v", list)
	}
}
