package test

import (
	"context"
	"encoding/base32"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"gatepost/internal/account/factor/factortest"
)

// tab is one tab of a browser that visits a server's console.
type tab struct {
	t   *testing.T
	ctx context.Context
	at  string // where the console is
}

// browse opens a tab in a browser of its own, which finds the server by its
// name and takes its self-signed certificate.
func browse(t *testing.T, s *server) *tab {
	t.Helper()
	need(t, "chromium")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("host-resolver-rules", "MAP "+s.host+" "+s.ip),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, patience)
	t.Cleanup(cancel)
	return &tab{t, ctx, "https://" + s.host}
}

// do acts in the tab.
func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v; the page is\n%s", what, err, b.shown())
	}
}

// ask has the page work out something.
func ask[T any](b *tab, what, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	return v
}

// command gives the browser a command.
func command[P, R any](verb cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, verb, params)
		return err
	})
}

// look writes a picture of the page, at a width, where somebody wants to see
// it: GATEPOST_PICTURES names a directory.
func (b *tab) look(name string) {
	b.t.Helper()
	dir := os.Getenv("GATEPOST_PICTURES")
	if dir == "" {
		return
	}
	for kind, width := range map[string]int64{"desktop": 1100, "phone": 390} {
		for _, scheme := range []string{"light", "dark"} {
			b.do("picture", chromedp.EmulateViewport(width, 800), command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
			}))
			picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
			if err != nil {
				b.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%s.png", name, kind, scheme)), picture, 0o644); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	b.do("viewport", chromedp.EmulateViewport(1100, 800))
}

// shown returns what the page shows now.
func (b *tab) shown() string {
	got, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`)) // it may be on its way
	return got
}

// text waits until the page shows a text.
func (b *tab) text(want string) {
	b.t.Helper()
	awaitFor(b.t, patience/4, func() string {
		if got := b.shown(); !strings.Contains(got, want) {
			return fmt.Sprintf("%q is not in\n%s", want, got)
		}
		return ""
	})
}

// fill types into the fields of the page, which are named.
func (b *tab) fill(fields ...string) {
	b.t.Helper()
	for i := 0; i < len(fields); i += 2 {
		id := chromedp.ID(fields[i])
		b.do(fields[i], chromedp.WaitVisible(id))
		ask[string](b, fields[i], fmt.Sprintf(`document.getElementById(%q).value = ""`, fields[i]))
		b.do(fields[i], chromedp.SendKeys(id, fields[i+1]))
	}
}

func (b *tab) open(path string) { b.t.Helper(); b.do(path, chromedp.Navigate(b.at+path)) }

// press presses the button with a text.
func (b *tab) press(words string) {
	b.t.Helper()
	b.do(words, chromedp.Click(fmt.Sprintf(`//button[normalize-space()=%q]`, words)))
}

// sound checks of a page what people need who see badly or have no mouse:
// every field has a label, every button a name, the language and the title are
// there, and nothing has to be scrolled sideways on a phone.
func (b *tab) sound(page string) {
	b.t.Helper()
	b.do("phone", chromedp.EmulateViewport(360, 740))
	faults := ask[[]string](b, "sound", `(() => { return [
		...[...document.querySelectorAll("input:not([type=hidden]),select")].filter(e => !e.labels.length).map(e => "no label: " + e.outerHTML),
		...[...document.querySelectorAll("button,a")].filter(e => !(e.textContent.trim() || e.ariaLabel)).map(e => "no name: " + e.outerHTML),
		...[...document.querySelectorAll("svg")].filter(e => !(e.ariaLabel || e.ariaHidden)).map(e => "no name: svg"),
		...(document.documentElement.lang && document.title && document.querySelectorAll("h1").length == 1 ? [] : ["language, title or heading"]),
		...(document.documentElement.scrollWidth > innerWidth ? ["wider than a phone: " + document.documentElement.scrollWidth] : []),
		...[...document.querySelectorAll("main :is(p,label,li,a,button,h1,h2,small,strong)")].filter(e => e.checkVisibility() && contrast(e) < 4.5).map(e => "contrast " + contrast(e).toFixed(1) + ": " + e.outerHTML.slice(0, 80)),
	]; function contrast(e) {
		const rgb = s => s.match(/[\d.]+/g).map(Number);
		const light = c => [0.2126, 0.7152, 0.0722].reduce((s, w, i) => { const v = c[i] / 255; return s + w * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
		let back = null;
		for (let p = e; p && !back; p = p.parentElement) { const c = rgb(getComputedStyle(p).backgroundColor); if (c.length < 4 || c[3] > 0) back = c; }
		const [a, b] = [light(rgb(getComputedStyle(e).color)), light(back || [255, 255, 255])].sort((x, y) => y - x);
		return (a + 0.05) / (b + 0.05);
	} })()`)
	b.do("desktop", chromedp.EmulateViewport(1100, 800))
	for _, f := range faults {
		b.t.Errorf("%s: %s", page, f)
	}
	b.look(page)
}

// secretOf is the secret that a page shows.
const secretOf = `document.querySelector(".secret").innerText.trim()`

// People sign in with a browser, add a passkey and an app, and sign in with
// each; a device gets a password, which a client for mail uses at once.
func TestConsole(t *testing.T) {
	t.Parallel()
	s := install(t, "console.test", "")
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(text), "https = []", fmt.Sprintf("https = [%q]", s.ip+":443"), 1)
	if err := os.WriteFile(s.config, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
	s.serve()
	b := browse(t, s)

	b.open("/")
	b.text("Sign in")
	b.sound("sign-in")
	b.fill("login", s.address(), "password", "wrong", "code", "")
	b.press("Sign in")
	b.text("That did not match")
	b.sound("refused")
	b.fill("password", password)
	b.press("Sign in")
	b.text("Your password alone opens your mail")
	b.sound("account")
	for _, page := range []string{"factors", "devices", "password", "sessions", "activity", "lock"} {
		b.open("/" + page)
		b.sound(page)
	}

	// A passkey, by the authenticator that Chromium plays.
	b.do("authenticator", command(webauthn.Enable, webauthn.EnableParams{}), command(webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
		Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		},
	}))
	b.open("/factors")
	b.fill("passkey-name", "Laptop")
	b.press("Add a passkey")
	b.text("Write these down")
	b.sound("codes")
	b.open("/factors")
	b.text("Laptop")
	b.press("Sign out")
	b.text("You are signed out")
	b.press("Use a passkey")
	b.text("Your account")

	// An app, and a sign-in with password and code.
	b.open("/factors")
	b.press("Add an app")
	b.sound("app")
	spelled := ask[string](b, "secret", secretOf)
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(spelled)
	if err != nil {
		t.Fatal(err)
	}
	b.fill("code", factortest.Code(secret, time.Now()), "name", "Phone")
	b.press("Add it")
	b.text("It was added")
	b.sound("two-factors")
	b.press("Sign out")
	b.text("You are signed out")
	b.fill("login", s.address(), "password", password, "code", "")
	b.press("Sign in")
	b.text("That did not match")
	b.fill("password", password, "code", factortest.Code(secret, time.Now().Add(30*time.Second))) // the one of now was used
	b.press("Sign in")
	b.text("Your account")

	// A device, whose password a client for mail uses at once; the main one
	// opens mail no more.
	b.open("/devices")
	b.fill("name", "Tablet")
	b.press("Make its password")
	b.text("the only time")
	b.sound("device")
	device := ask[string](b, "password", secretOf)
	c := s.dial(t, "465")
	c.say("EHLO client.test", "250")
	c.say("AUTH PLAIN "+plain(s.address(), password), "535")
	c.say("AUTH PLAIN "+plain(s.address(), device), "235")
	c.say("QUIT", "221")
	b.open("/activity")
	b.text("with its device Tablet")
	b.sound("history")
	if out := s.gatepost("activity", s.address()); !strings.Contains(out, "passkey") || !strings.Contains(out, "TLS 1.3") {
		t.Errorf("the activity does not tell of the browser: %s", out)
	}
}
