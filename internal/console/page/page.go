// Package page draws what the console shows: templates in one layout, and the
// style and script beside them. It belongs to console.
//
// Everything is escaped where it stands, by html/template; nothing here turns
// what somebody wrote into HTML. There is no script in a page, and no page
// needs one but for passkeys.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

//go:embed templates/*.html
var templates embed.FS

//go:embed static/console.css
var style []byte

//go:embed static/console.js
var script []byte

// StaticPath is below which style and script are found.
const StaticPath = "/static/"

// Frame is what stands around the content of a page.
type Frame struct {
	Title   string
	Host    string
	Account string // who is signed in; empty: nobody
	Owes    bool   // a second factor: there is nothing else to do
	Section string // which link of the menu it is of
}

// Pages draws. It may be used from any goroutine.
type Pages struct {
	set    *template.Template
	files  map[string]file
	Style  string // where they are
	Script string
}

type file struct {
	kind    string
	content []byte
}

// New reads the templates.
func New() *Pages {
	p := &Pages{files: map[string]file{}}
	p.Style = p.file("console.css", "text/css; charset=utf-8", style)
	p.Script = p.file("console.js", "text/javascript; charset=utf-8", script)
	p.set = template.Must(template.New("").Funcs(template.FuncMap{
		"when": func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
		"qr":   drawQR,
		"iso":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	}).ParseFS(templates, "templates/*.html"))
	return p
}

// file gives a file an address that changes with what is in it, so that it
// can be kept for ever.
func (p *Pages) file(name, kind string, content []byte) (address string) {
	sum := sha256.Sum256(content)
	address = StaticPath + hex.EncodeToString(sum[:8]) + "/" + name
	p.files[address] = file{kind, content}
	return address
}

// Static answers with style and script.
func (p *Pages) Static(w http.ResponseWriter, r *http.Request) {
	f, ok := p.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(f.content)
}

// Content draws a template by itself, to stand in a frame.
func (p *Pages) Content(name string, data any) (template.HTML, error) {
	var b bytes.Buffer
	if err := p.set.ExecuteTemplate(&b, name+".html", data); err != nil {
		return "", fmt.Errorf("the page %s: %w", name, err)
	}
	return template.HTML(b.String()), nil
}

// Write answers with a whole page.
func (p *Pages) Write(w http.ResponseWriter, status int, f Frame, content template.HTML) error {
	var b bytes.Buffer
	err := p.set.ExecuteTemplate(&b, "layout.html", struct {
		Frame
		Pages   *Pages
		Content template.HTML
	}{f, p, content})
	if err != nil {
		return fmt.Errorf("the layout: %w", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, err = w.Write(b.Bytes())
	return err
}
