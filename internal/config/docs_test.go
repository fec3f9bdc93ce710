package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/config.md anew")

const docsFile = "../../docs/config.md"

// TestDocs keeps docs/config.md equal to the comments and defaults of the
// struct.
func TestDocs(t *testing.T) {
	t.Parallel()
	want := docs(t)
	if *update {
		if err := os.WriteFile(docsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docsFile)
	if err != nil || string(got) != want {
		t.Errorf("docs/config.md is not what the struct says (%v); run go test ./internal/config -update", err)
	}
}

func docs(t *testing.T) string {
	f, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string]*ast.StructType{}
	about := map[string]string{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		s := g.Specs[0].(*ast.TypeSpec)
		structs[s.Name.Name] = s.Type.(*ast.StructType)
		about[s.Name.Name] = strings.TrimSpace(g.Doc.Text())
	}
	var b strings.Builder
	b.WriteString(`# gatepost.toml

The file holds what belongs to the machine; domains, accounts and aliases live in the store and are made with commands. A key that is not listed here, a value of the wrong type or a contradiction is refused with its line. ` + "`SIGHUP`" + ` reads the file again.

Sizes are written as "50MiB", lengths of time as "30s", "5m", "4h", "5d". This page is made from the struct in internal/config/config.go.

## At the top
`)
	def := Default()
	table(t, &b, structs["Config"], reflect.ValueOf(*def))
	for _, section := range []struct {
		title, name string
		value       any
	}{
		{"[listen]", "Listen", def.Listen}, {"[tls]", "TLS", def.TLS}, {"[dns]", "DNS", def.DNS},
		{"[dns.update]", "Update", def.DNS.Update},
		{"[relay]", "Relay", def.Relay}, {"[front]", "Front", def.Front}, {"[trusted]", "Trusted", def.Trusted}, {"[[sender]]", "Sender", Sender{}}, {"[remote]", "Remote", def.Remote}, {"[reports]", "Reports", def.Reports},
		{"[activity]", "Activity", def.Activity}, {"[alerts]", "Alerts", def.Alerts}, {"[oauth]", "OAuth", def.OAuth},
		{"[system]", "System", def.System},
		{"[password]", "Password", def.Password}, {"[factor]", "Factor", def.Factor},
		{"[[route]]", "Route", Route{}}, {"[limits]", "Limits", def.Limits},
	} {
		_, text, _ := strings.Cut(about[section.name], " ")
		fmt.Fprintf(&b, "\n## `%s`\n%s%s\n", section.title, strings.ToUpper(text[:1]), text[1:])
		table(t, &b, structs[section.name], reflect.ValueOf(section.value))
	}
	return b.String()
}

// table writes the keys of one struct; nested ones have a section of their
// own.
func table(t *testing.T, b *strings.Builder, s *ast.StructType, v reflect.Value) {
	b.WriteString("\n| key | default | meaning |\n|---|---|---|\n")
	for _, f := range s.Fields.List {
		if f.Tag == nil || f.Doc == nil {
			continue
		}
		key := reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("toml")
		text := strings.TrimSpace(strings.ReplaceAll(f.Doc.Text(), "\n", " "))
		if text == "" {
			t.Errorf("%s has no sentence", key)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", key, shown(key, v.FieldByName(f.Names[0].Name)), text)
	}
}

// shown is a default as it would stand in the file.
func shown(key string, v reflect.Value) string {
	switch {
	case key == "password_hashes":
		return "one a processor, at least 2"
	case v.Kind() == reflect.Slice:
		var items []string
		for i := range v.Len() {
			items = append(items, fmt.Sprintf("%q", v.Index(i)))
		}
		return "`[" + strings.Join(items, ", ") + "]`"
	case v.Kind() == reflect.Struct, v.Kind() == reflect.String && v.Len() == 0:
		return ""
	case v.Kind() == reflect.Int || v.Kind() == reflect.Bool:
		return fmt.Sprintf("`%v`", v)
	}
	return fmt.Sprintf("`\"%v\"`", v)
}
