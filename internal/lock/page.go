package lock

import (
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"time"
)

// Page writes a page with a title around content, with a status.
type Page func(w http.ResponseWriter, r *http.Request, status int, title string, content template.HTML)

// Handler answers for everything under Path.
func (l *Links) Handler(page Page, log *slog.Logger) http.Handler {
	d := &door{l, page, log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path+"{token}", d.show)
	mux.HandleFunc("POST "+Path+"{token}", d.act)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		h.Set("X-Robots-Tag", "noindex, nofollow")
		mux.ServeHTTP(w, r)
	})
}

// door is the page behind the links.
type door struct {
	links *Links
	page  Page
	log   *slog.Logger
}

// state is what is known when somebody comes through a link.
type state struct {
	link
	token, name string
}

// enter finds out where a link leads, and answers itself if that is nowhere:
// with the same words whatever the reason is, so that nobody who guesses
// learns anything.
func (d *door) enter(w http.ResponseWriter, r *http.Request) (s state, ok bool) {
	s.token = r.PathValue("token")
	found, ok, err := d.links.find(r.Context(), s.token)
	if err == nil && ok {
		s.link = found
		s.name, err = d.links.o.Freezer.Name(r.Context(), found.owner)
	}
	switch {
	case err != nil && !errors.Is(err, ErrGone):
		d.fail(w, r, err)
		return s, false
	case !ok || err != nil:
		d.page(w, r, http.StatusNotFound, "This link does not hold", invalid)
		return s, false
	}
	return s, true
}

func (d *door) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() == nil {
		d.log.Error("a link that locks an account could not be followed", "error", err)
	}
	d.page(w, r, http.StatusServiceUnavailable, "Try again", failed)
}

// show says what the button does.
func (d *door) show(w http.ResponseWriter, r *http.Request) {
	s, ok := d.enter(w, r)
	switch {
	case !ok:
	case !s.used.IsZero():
		d.page(w, r, http.StatusOK, "Locked", done(s.name, s.used))
	default:
		d.page(w, r, http.StatusOK, "Lock this account?", ask(s.name))
	}
}

// act freezes the account. Its answer is the same when it was frozen already.
func (d *door) act(w http.ResponseWriter, r *http.Request) {
	s, ok := d.enter(w, r)
	if !ok {
		return
	}
	// Whoever pushed the button and went away wants it all the same.
	if err := d.links.use(context.WithoutCancel(r.Context()), s.token, s.link); err != nil {
		d.fail(w, r, err)
		return
	}
	at := s.used
	if at.IsZero() {
		at = d.links.o.Clock.Now().UTC()
	}
	d.page(w, r, http.StatusOK, "Locked", done(s.name, at))
}

const invalid template.HTML = `<p>This link does not hold, or does not hold any more. Nothing was changed.</p>
<p>If somebody else may be in your mail, ask whoever runs this server to freeze your account.</p>`

const failed template.HTML = `<p>That did not work just now. Please try it again in a minute. If it does not work then either, ask whoever runs this server to freeze your account.</p>`

func ask(name string) template.HTML {
	return fill(`<p>This locks the account <strong>{{.Name}}</strong>, at once:</p>
<ul>
<li>whoever is signed in now is signed out, and nobody can sign in, you neither;</li>
<li>what was sent from it and has not left yet is held back;</li>
<li>mail still arrives, and nothing is lost.</li>
</ul>
<p>Only whoever runs this server can undo it. They are told.</p>
<form method="post"><button type="submit">Lock the account</button></form>
<p>If all is well, close this page. Nothing has been changed.</p>`, name, time.Time{})
}

func done(name string, at time.Time) template.HTML {
	return fill(`<p>The account <strong>{{.Name}}</strong> was locked through this link on {{.At}}.</p>
<p>Nobody can sign in to it, nothing leaves from it, mail still arrives. Whoever runs this server was told, and can release it: ask them for a new password first.</p>`, name, at)
}

func fill(text, name string, at time.Time) template.HTML {
	var b writer
	t := template.Must(template.New("").Parse(text))
	_ = t.Execute(&b, struct{ Name, At string }{name, at.Format("2 January 2006 at 15:04 UTC")})
	return template.HTML(b)
}

// writer gathers a page.
type writer []byte

func (w *writer) Write(p []byte) (int, error) { *w = append(*w, p...); return len(p), nil }
