package account

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"gatepost/internal/addr"
	"gatepost/internal/store"
)

func TestIsLocal(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org", addr.MustParse("x@bücher.example").Domain)
	for name, want := range map[addr.Domain]bool{
		"example.org": true, "xn--bcher-kva.example": true, "mx.example.net": true,
		"example.com": false, "sub.example.org": false, "org": false, "": false, "[192.0.2.1]": false,
	} {
		if got, err := h.IsLocal(ctx, name); got != want || err != nil {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org", "other.example", "catch.example", "empty.example")
	h.accounts("henry@example.org", "admin@example.org", "anna@other.example", "josé@example.org", "lost@catch.example", "ann.x@catch.example")
	h.alias("info@example.org", "henry@example.org")
	h.alias("list@example.org", "henry@example.org", "Anna+list@other.example", "far@remote.example", "Far@remote.example", "far@remote.example", "henry+again@example.org")
	h.alias("lists@example.org", "list@example.org", "info@example.org", "admin@example.org")
	h.alias("henry+secret@example.org", "anna@other.example")
	h.alias("@catch.example", "lost+caught@catch.example")
	h.alias("sales@catch.example", "ann.x@catch.example")
	h.alias("a@example.org", "henry@example.org")
	h.alias("b@example.org", "a@example.org")
	if err := h.SetAlias(ctx, addr.MustParse("a@example.org"), addresses("b@example.org")); err != nil { // a loop
		t.Fatal(err)
	}
	h.alias("self@example.org", "henry@example.org")
	if err := h.SetAlias(ctx, addr.MustParse("self@example.org"), addresses("self@example.org", "henry@example.org")); err != nil {
		t.Fatal(err)
	}
	h.alias("relay@example.org", "someone@mx.example.org", "postmaster@mx.example.net")
	const unknown = "550 5.1.1"
	for to, want := range map[string]string{
		// Accounts: without case, in NFC, with tags, in quotes.
		"henry@example.org":                   "henry@example.org",
		"HeNry@Example.ORG":                   "henry@example.org",
		`"henry"@example.org`:                 "henry@example.org",
		"henry+Tag@example.org":               "henry+tag@example.org",
		"henry+a+b@example.org":               "henry+a+b@example.org",
		"henry+@example.org":                  "henry+@example.org",
		`"henry+a b"@example.org`:             `"henry+a b"@example.org`,
		"jose\u0301@example.org":              "josé@example.org",
		"JOSÉ+x@example.org":                  "josé+x@example.org",
		"+henry@example.org":                  unknown,
		"henry-x@example.org":                 unknown,
		"henryⅣ@example.org":                  unknown,
		`"henry "@example.org`:                unknown,
		`""@example.org`:                      unknown,
		"nobody@example.org":                  unknown,
		"henry@empty.example":                 unknown,
		"henry@sub.example.org":               unknown,
		"henry@remote.example":                unknown, // not ours at all
		`henry%remote.example@example.org`:    unknown,
		`remote.example!henry@example.org`:    unknown,
		`"henry@remote.example"@example.org`:  unknown,
		`"@remote.example:henry"@example.org`: unknown,
		// Aliases: an exact one beats what is left without the tag.
		"INFO@example.org":         "henry@example.org",
		"info+tag@example.org":     "henry@example.org",
		"henry+secret@example.org": "anna@other.example",
		"henry+Secret@example.org": "anna@other.example",
		// A list: an account once, other servers' addresses as spelled.
		"list@example.org":  "henry@example.org anna+list@other.example far@remote.example Far@remote.example",
		"lists@example.org": "admin@example.org henry@example.org anna+list@other.example far@remote.example Far@remote.example",
		"relay@example.org": "someone@mx.example.org admin@example.org",
		// Loops are cut.
		"a@example.org":    unknown,
		"self@example.org": "henry@example.org",
		// The catch-all comes last.
		"anything@catch.example": "lost+caught@catch.example",
		"a+b@catch.example":      "lost+caught@catch.example",
		`""@catch.example`:       "lost+caught@catch.example",
		"sales@catch.example":    "ann.x@catch.example",
		"sales+x@catch.example":  "ann.x@catch.example",
		"lost@catch.example":     "lost@catch.example",
		// Roles: the domain's administrator, else the server's.
		"postmaster@example.org":       "admin@example.org",
		"Abuse@example.org":            "admin@example.org",
		"postmaster+x@example.org":     "admin@example.org",
		"postmaster@other.example":     "admin@example.org",
		"postmaster@empty.example":     "admin@example.org",
		"abuse@catch.example":          "admin@example.org",
		"PostMaster@mx.example.net":    "admin@example.org",
		"abuse@mx.example.net":         "admin@example.org",
		"mailer-daemon@mx.example.net": "admin@example.org",
		"mailer-daemon@example.org":    unknown,
		// Reports: the address itself, before the catch-all.
		"TLS-Reports@example.org":      "tls-reports@example.org",
		"dmarc-reports@catch.example":  "dmarc-reports@catch.example",
		"tls-reports+x@example.org":    "tls-reports+x@example.org",
		"tls-reports@mx.example.net":   "tls-reports@mx.example.net",
		"henry@mx.example.net":         unknown,
		"postmaster@elsewhere.example": unknown,
		"postmaster%x@example.org":     unknown,
		"postmasterx@example.org":      unknown,
	} {
		if got := h.resolve(to); got != want {
			t.Errorf("%s goes to %q instead of %q", to, got, want)
		}
	}
}

// Who answers for postmaster and abuse changes as people come.
func TestRoles(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org", "other.example")
	expect := func(what string, want map[string]string) {
		t.Helper()
		for to, w := range want {
			if got := h.resolve(to); got != w {
				t.Errorf("%s: %s goes to %q instead of %q", what, to, got, w)
			}
		}
	}
	expect("nobody yet", map[string]string{
		"postmaster@example.org": "451 4.2.1", "abuse@other.example": "451 4.2.1", "mailer-daemon@mx.example.net": "451 4.2.1",
	})
	h.alias("help@example.org", "postmaster@example.org")
	expect("an alias of it", map[string]string{"help@example.org": "451 4.2.1"})
	h.accounts("zoe@other.example", "anna@other.example")
	expect("a first account", map[string]string{
		"postmaster@example.org": "451 4.2.1", "abuse@other.example": "zoe@other.example", "postmaster@mx.example.net": "zoe@other.example",
	})
	h.accounts("admin@other.example")
	expect("an administrator of another domain", map[string]string{
		"postmaster@example.org": "admin@other.example", "abuse@other.example": "admin@other.example",
		"postmaster@mx.example.net": "admin@other.example", "help@example.org": "admin@other.example",
	})
	h.accounts("admin2@example.org", "admin3@example.org")
	expect("each its own", map[string]string{
		"postmaster@example.org": "admin2@example.org", "abuse@other.example": "admin@other.example",
	})
	h.alias("postmaster@example.org", "zoe@other.example")
	expect("an alias", map[string]string{"postmaster@example.org": "zoe@other.example", "abuse@example.org": "admin2@example.org"})
	h.accounts("abuse@example.org")
	expect("an account", map[string]string{"abuse@example.org": "abuse@example.org"})
	if err := h.RemoveAlias(ctx, addr.MustParse("Postmaster@example.org")); err != nil {
		t.Error(err)
	}
	expect("without the alias", map[string]string{"postmaster@example.org": "admin2@example.org"})
	says(t, "removing a role", h.RemoveAlias(ctx, addr.MustParse("postmaster@example.org")), "cannot be removed")
	if err := h.SetAlias(ctx, addr.MustParse("postmaster@example.org"), addresses("zoe@other.example", "far@remote.example")); err != nil {
		t.Error(err)
	}
	expect("set", map[string]string{"postmaster@example.org": "zoe@other.example far@remote.example"})
	// A host name that is a domain of ours too.
	h.domain("mx.example.net")
	h.accounts("henry@mx.example.net")
	expect("the host name is a domain", map[string]string{
		"henry@mx.example.net": "henry@mx.example.net", "mailer-daemon@mx.example.net": "admin@other.example",
	})
}

func TestExpansionIsBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	h.alias("d1@example.org", "henry@example.org")
	for i := 2; i <= 12; i++ {
		h.alias(fmt.Sprintf("d%d@example.org", i), fmt.Sprintf("d%d@example.org", i-1))
	}
	for to, want := range map[string]string{"d10@example.org": "henry@example.org", "d11@example.org": "550 5.4.6", "d12@example.org": "550 5.4.6"} {
		if got := h.resolve(to); got != want {
			t.Errorf("%s: %q", to, got)
		}
	}
	// The shortest way counts, also when a longer one comes first.
	h.alias("short@example.org", "d12@example.org", "d9@example.org")
	if got := h.resolve("short@example.org"); got != "henry@example.org" {
		t.Errorf("reached on a short and on a long way: %q", got)
	}
	far := func(n int, tag string) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("%s%d@remote.example", tag, i))
		}
		return list
	}
	h.alias("big@example.org", far(maxRecipients, "a")...)
	if got := h.resolve("big@example.org"); strings.Count(got, "@") != maxRecipients {
		t.Errorf("%d recipients: %.60q", maxRecipients, got)
	}
	h.alias("more@example.org", "big@example.org")
	if got := h.resolve("more@example.org"); got != "550 5.3.5" {
		t.Errorf("more than %d: %.60q", maxRecipients, got)
	}
	says(t, "an alias that is too large", h.AddAlias(ctx, addr.MustParse("huge@example.org"), addresses(far(maxRecipients+1, "b")...)), "1000 targets")
}

// Expansion against the simplest model: everything that can be reached. The
// aliases are written past the checks of AddAlias, since targets may vanish
// after it.
func TestExpansionModel(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("u0@example.org", "u1@example.org", "u2@example.org")
	rapid.Check(t, func(rt *rapid.T) {
		targets := map[string][]string{}
		names := rapid.SampledFrom([]string{"u0", "u1", "u2", "u0+x", "u1+y", "gone", "far", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a2+t"})
		for i := range 7 {
			targets[fmt.Sprintf("a%d", i)] = rapid.SliceOfN(names, 1, 4).Draw(rt, "targets")
		}
		full := func(name string) addr.Address {
			if name == "far" {
				return addr.MustParse("far@remote.example")
			}
			return addr.MustParse(name + "@example.org")
		}
		h.mu.Lock()
		h.changes++
		h.known.Clear()
		h.nobodies.Clear()
		for name, list := range targets {
			e := &entry{address: full(name)}
			for _, target := range list {
				e.targets = append(e.targets, full(target))
			}
			h.known.Put(e.address, e)
		}
		h.mu.Unlock()

		reached, seen := map[string]bool{}, map[string]bool{}
		var walk func(name string)
		walk = func(name string) {
			base, _, _ := strings.Cut(name, "+")
			switch {
			case base == "far" || base[0] == 'u':
				reached[base] = true
			case base[0] == 'a' && !seen[base]:
				seen[base] = true
				for _, next := range targets[base] {
					walk(next)
				}
			}
		}
		walk("a0")
		list, err := h.Resolve(ctx, full("a0"))
		if len(reached) == 0 {
			if outcome("", err) != "550 5.1.1" {
				rt.Fatalf("nobody is reached, but %v, %v", list, err)
			}
			return
		}
		got := map[string]bool{}
		for _, a := range list {
			base, _, _ := strings.Cut(a.Local, "+")
			if got[base] {
				rt.Fatalf("%s twice in %v", base, list)
			}
			got[base] = true
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(reached) {
			rt.Fatalf("%v, %v instead of %v", list, err, reached)
		}
		again, _ := h.Resolve(ctx, full("a0"))
		if !slices.Equal(list, again) {
			rt.Fatalf("not the same order: %v, %v", list, again)
		}
	})
}

func TestFind(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	h.alias("info@example.org", "henry@example.org")
	h.alias("henry+x@example.org", "henry@example.org")
	for to, ok := range map[string]bool{
		"henry@example.org": true, "Henry+Tag@example.org": true, "henry+x@example.org": true,
		"info@example.org": false, "nobody@example.org": false, "postmaster@example.org": false, "henry@remote.example": false,
	} {
		a, err := h.Find(ctx, addr.MustParse(to))
		switch {
		case ok && (err != nil || a.Address.String() != "henry@example.org" || a.Quota != 1<<30):
			t.Errorf("%s: %v, %v", to, a, err)
		case !ok && err != ErrUnknown:
			t.Errorf("%s: %v, %v", to, a, err)
		}
	}
}

func TestOwns(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org", "catch.example")
	h.accounts("admin@example.org", "henry@example.org", "anna@example.org", "keeper@catch.example")
	h.alias("info@example.org", "henry@example.org", "far@remote.example")
	h.alias("lists@example.org", "henry+lists@example.org")
	h.alias("all@example.org", "info@example.org")
	h.alias("@catch.example", "keeper@catch.example")
	h.alias("sales@catch.example", "henry@example.org")
	h.alias("anna+vip@example.org", "henry@example.org")
	const henry, keeper, admin, anna = "henry@example.org", "keeper@catch.example", "admin@example.org", "anna@example.org"
	for _, c := range []struct {
		account, from string
		want          bool
	}{
		{henry, "henry@example.org", true},
		{henry, "Henry+News@Example.org", true},
		{henry, "anna@example.org", false},
		{henry, "info@example.org", true},
		{henry, "info+x@example.org", true},
		{henry, "lists@example.org", true},
		{henry, "all@example.org", false}, // not directly
		{henry, "sales@catch.example", true},
		{henry, "anything@catch.example", false},
		{henry, "nobody@example.org", false},
		{henry, "henry@remote.example", false},
		{henry, "far@remote.example", false},
		{henry, "postmaster@example.org", false},
		{henry, "anna+vip@example.org", true},
		{anna, "anna+vip@example.org", false}, // given away
		{anna, "info@example.org", false},
		{admin, "postmaster@example.org", true},
		{admin, "abuse@catch.example", true},
		{admin, "postmaster@mx.example.net", true},
		{admin, "henry@example.org", false},
		{keeper, "anything@catch.example", true},
		{keeper, "sales@catch.example", false}, // claimed by an alias
		{keeper, "postmaster@catch.example", false},
		{"", "henry@example.org", false},
		{"HENRY@example.org", "henry@example.org", false}, // not as Exchange.Account writes it
	} {
		got, err := h.Owns(ctx, c.account, addr.MustParse(c.from))
		if got != c.want || err != nil {
			t.Errorf("%s as %s: %v, %v", c.account, c.from, got, err)
		}
	}
	if got, err := h.Owns(ctx, henry, addr.Address{}); got || err != nil {
		t.Errorf("the null sender: %v, %v", got, err)
	}
}

// Warm look-ups ask the store nothing; a change makes them ask again; guesses
// do not push out what is known.
func TestCache(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	h.alias("info@example.org", "henry@example.org")
	reads := func(f func()) int64 {
		before := h.Counters.Reads.Load()
		f()
		return h.Counters.Reads.Load() - before
	}
	all := func() {
		h.resolve("henry@example.org")
		h.resolve("henry+x@example.org")
		h.resolve("info@example.org")
		h.resolve("nobody@example.org")
		h.IsLocal(ctx, "remote.example")
		h.Find(ctx, addr.MustParse("henry@example.org"))
		h.Owns(ctx, "henry@example.org", addr.MustParse("info@example.org"))
	}
	if n := reads(all); n == 0 {
		t.Error("cold look-ups did not read")
	}
	if n := reads(all); n != 0 {
		t.Errorf("warm look-ups read %d times", n)
	}
	for i := range cachedUnknown + 10 {
		h.mu.Lock()
		h.nobodies.Put(addr.Address{Local: fmt.Sprint(i), Domain: "example.org"}, struct{}{})
		h.mu.Unlock()
	}
	if n := reads(func() { h.resolve("henry@example.org"); h.resolve("info@example.org") }); n != 0 {
		t.Errorf("guesses pushed out what is known: %d reads", n)
	}
	h.accounts("nobody@example.org")
	if got := h.resolve("nobody@example.org"); got != "nobody@example.org" {
		t.Errorf("a new account: %q", got)
	}
	if err := h.SetAlias(ctx, addr.MustParse("info@example.org"), addresses("nobody@example.org")); err != nil {
		t.Fatal(err)
	}
	if got := h.resolve("info@example.org"); got != "nobody@example.org" {
		t.Errorf("a changed alias: %q", got)
	}
	if local, _ := h.IsLocal(ctx, "new.example"); local {
		t.Error("local before it is")
	}
	h.domain("new.example")
	if local, _ := h.IsLocal(ctx, "new.example"); !local {
		t.Error("a new domain is not seen")
	}
}

// What was read while something changed is not kept: it may be from before.
func TestReadDuringAChangeIsNotKept(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	a := addr.MustParse("henry@example.org")
	var all sync.WaitGroup
	release := make(chan struct{})
	for range 16 { // as many readers as the store has at most
		all.Go(func() { h.db.View(ctx, func(*store.Tx) error { <-release; return nil }) })
	}
	reads := h.Counters.Reads.Load()
	all.Go(func() { h.lookup(ctx, a) })
	all.Go(func() { h.ours(ctx) })
	for h.Counters.Reads.Load() < reads+2 {
		time.Sleep(time.Millisecond)
	}
	h.changed(nil) // both look-ups wait for the store
	close(release)
	all.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, kept := h.known.Get(a); kept || h.domains != nil {
		t.Error("kept")
	}
}

func BenchmarkResolveWarm(b *testing.B) {
	h := newHouse(b)
	h.domain("example.org")
	h.accounts("henry@example.org")
	to := addr.MustParse("henry@example.org")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Resolve(ctx, to); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolveTagged(b *testing.B) {
	h := newHouse(b)
	h.domain("example.org")
	h.accounts("henry@example.org")
	to := addr.MustParse("Henry+tag@example.org")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Resolve(ctx, to); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIsLocalWarm(b *testing.B) {
	h := newHouse(b)
	h.domain("example.org")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.IsLocal(ctx, "remote.example"); err != nil {
			b.Fatal(err)
		}
	}
}

// The addresses for reports are the server's until somebody is given them.
func TestReports(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.domain("example.org")
	h.accounts("henry@example.org")
	to := addr.MustParse("dmarc-reports@example.org")
	find := func(what string, a addr.Address, want error) {
		t.Helper()
		if _, err := h.Find(ctx, a); !errors.Is(err, want) {
			t.Errorf("%s: %v instead of %v", what, err, want)
		}
	}
	find("by itself", to, ErrReports)
	find("with a tag", addr.MustParse("tls-reports+a@example.org"), ErrReports)
	find("of another name", addr.MustParse("reports@example.org"), ErrUnknown)
	h.alias("copies@example.org", "dmarc-reports@example.org", "henry@example.org")
	if got := h.resolve("copies@example.org"); got != "dmarc-reports@example.org henry@example.org" {
		t.Error(got)
	}
	h.alias("dmarc-reports@example.org", "henry@example.org")
	if got := h.resolve(to.String()); got != "henry@example.org" {
		t.Error(got)
	}
	find("resolved before the alias was made", to, ErrReports)
	h.accounts("tls-reports@example.org")
	find("an account", addr.MustParse("tls-reports@example.org"), nil)
	if owns, err := h.Owns(ctx, "henry@example.org", addr.MustParse("tls-reports@mx.example.net")); owns || err != nil {
		t.Error(owns, err)
	}
}
