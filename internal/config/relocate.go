package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Files returns the files that the configuration names, by their settings, as
// "tls.key" or "route.0.password_file".
func (c *Config) Files() map[string]string {
	files := map[string]string{
		"tls.certificate": c.TLS.Certificate, "tls.key": c.TLS.Key,
		"tls.acme_roots": c.TLS.ACMERoots, "tls.roots": c.TLS.Roots,
		"dns.update.key_file": c.DNS.Update.KeyFile, "alerts.webhook_secret_file": c.Alerts.WebhookSecretFile,
	}
	for i, r := range c.Route {
		files[fmt.Sprintf("route.%d.password_file", i)] = r.PasswordFile
		files[fmt.Sprintf("route.%d.oauth2", i)] = r.OAuth2
	}
	for setting, path := range files {
		if path == "" {
			delete(files, setting)
		} else {
			files[setting] = c.Path(path)
		}
	}
	return files
}

// Relocate returns the text of a configuration with other values for some of
// its settings, which must be texts, and everything else as it was, comments
// too. What is not in the file stays out of it.
func Relocate(text []byte, values map[string]string) ([]byte, error) {
	r := &relocation{values: values, text: text}
	r.p.Reset(text)
	arrays := map[string]int{}
	table := ""
	for r.p.NextExpression() {
		e := r.p.Expression()
		key, _ := keyOf(e)
		switch e.Kind {
		case unstable.Table:
			table = key + "."
		case unstable.ArrayTable:
			table = fmt.Sprintf("%s.%d.", key, arrays[key])
			arrays[key]++
		case unstable.KeyValue:
			r.visit(table+key, e.Value())
		}
	}
	if err := r.p.Error(); err != nil {
		return nil, err
	}
	r.out.Write(text[r.copied:])
	return r.out.Bytes(), nil
}

// relocation copies a text from one value to the next.
type relocation struct {
	p      unstable.Parser
	values map[string]string
	text   []byte
	copied int
	out    bytes.Buffer
}

func (r *relocation) visit(key string, n *unstable.Node) {
	switch n.Kind {
	case unstable.InlineTable:
		for it := n.Children(); it.Next(); {
			inner, _ := keyOf(it.Node())
			r.visit(key+"."+inner, it.Node().Value())
		}
	case unstable.Array:
		for i, it := 0, n.Children(); it.Next(); i++ {
			r.visit(key+"."+strconv.Itoa(i), it.Node())
		}
	case unstable.String:
		value, wanted := r.value(key)
		if !wanted {
			return
		}
		at := int(n.Raw.Offset)
		r.out.Write(r.text[r.copied:at])
		r.out.WriteString(quote(value))
		r.copied = at + int(n.Raw.Length)
	}
}

// value returns the new value of a setting. The file may write its name in
// any case.
func (r *relocation) value(key string) (value string, wanted bool) {
	for setting, value := range r.values {
		if strings.EqualFold(setting, key) {
			return value, true
		}
	}
	return "", false
}

// quote writes a text as TOML does. What Go escapes otherwise TOML does not
// know, but paths have none of it.
func quote(s string) string { return strconv.Quote(s) }
