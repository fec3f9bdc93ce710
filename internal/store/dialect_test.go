package store

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// foreign are what one of the two databases does not know, or understands in
// another way.
var foreign = []struct{ pattern, why string }{
	{`\bAUTOINCREMENT\b|\bSERIAL\b|\bIDENTITY\b`, "ids come from NextID"},
	{`\bINSERT\s+OR\b|\bREPLACE\s+INTO\b|\bUPDATE\s+OR\b`, "use ON CONFLICT"},
	{`\bPRAGMA\b|\bVACUUM\b|\bWITHOUT\s+ROWID\b|\bSTRICT\b|\bROWID\b|\bGLOB\b|\bATTACH\b`, "SQLite only"},
	{`\b(IFNULL|STRFTIME|DATETIME|JULIANDAY|UNIXEPOCH|INSTR|PRINTF|ZEROBLOB|RANDOMBLOB|HEX|TYPEOF|GROUP_CONCAT|LAST_INSERT_ROWID|CHANGES|RANDOM|TOTAL)\s*\(`, "a function of SQLite's, or another meaning in each"},
	{`\b(NOW|GREATEST|LEAST|STRING_AGG|TO_TIMESTAMP|EXTRACT)\s*\(|::|\$\d|\bILIKE\b|\bSIMILAR\b`, "PostgreSQL only"},
	{`\bLIKE\b|\bNOCASE\b`, "SQLite's ignores case, PostgreSQL's does not"},
	{`\b(TRUE|FALSE)\b`, "truth is 0 or 1"},
	{`\bAS\s+(BOOLEAN|BOOL|DATE|TIME|TIMESTAMP|REAL|FLOAT|DOUBLE|NUMERIC|VARCHAR|CHAR|BLOB|INT|INTEGER|SMALLINT)\s*\)`, "types are BIGINT, TEXT and BYTEA"},
	{`"|` + "`" + `|\[`, "names are not quoted, and strings are in single quotes"},
	{`\bX'`, "give octets as an argument"},
	{`==`, "SQLite only"},
	{`\bLIMIT\s+\S+\s*,`, "SQLite only"},
}

// column matches a column of CREATE TABLE by its type.
var column = regexp.MustCompile(`^\s*\w+\s+(BIGINT|TEXT|BYTEA)\b`)

// lint reports why a statement is not in the shared dialect.
func lint(query string) []string {
	text := stripped(query)
	var list []string
	for _, f := range foreign {
		if m := regexp.MustCompile(`(?i)` + f.pattern).FindString(text); m != "" {
			list = append(list, fmt.Sprintf("%q: %s", m, f.why))
		}
	}
	if _, body, ok := strings.Cut(text, "("); ok && strings.HasPrefix(strings.TrimSpace(text), "CREATE TABLE") {
		for _, line := range strings.Split(strings.TrimSpace(body), "\n") {
			word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if slices.Contains([]string{"", ")", ");", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "CONSTRAINT", "REFERENCES"}, word) {
				continue
			}
			if !column.MatchString(line) {
				list = append(list, fmt.Sprintf("%q: not a column of type BIGINT, TEXT or BYTEA", strings.TrimSpace(line)))
			}
		}
	}
	return list
}

var comment = regexp.MustCompile(`--[^\n]*`)
var quoted = regexp.MustCompile(`'[^']*'`)

// stripped returns a statement without comments and what is in quotes.
func stripped(query string) string {
	return quoted.ReplaceAllString(comment.ReplaceAllString(query, ""), "''")
}

func TestLint(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`INSERT OR REPLACE INTO x (a) VALUES (?)`,
		`SELECT a FROM x WHERE b LIKE ?`,
		`SELECT "a" FROM x`,
		`SELECT a FROM x WHERE b = $1`,
		`CREATE TABLE x (` + "\n" + `a INTEGER PRIMARY KEY` + "\n)",
		`CREATE TABLE x (` + "\n" + `a VARCHAR(3) NOT NULL` + "\n)",
		`CREATE TABLE x (` + "\n" + `a BLOB` + "\n)",
		`UPDATE x SET a = strftime('%s')`,
		`SELECT a FROM x LIMIT 3, 4`,
	} {
		if len(lint(bad)) == 0 {
			t.Errorf("nothing found in %s", bad)
		}
	}
	for _, good := range []string{
		`SELECT a FROM x WHERE b = 'LIKE "this"' -- INTEGER`,
		`INSERT INTO x (a) VALUES (?) ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a`,
	} {
		if list := lint(good); len(list) != 0 {
			t.Errorf("%s: %v", good, list)
		}
	}
}

// statement is one SQL text with the place it stands in.
type statement struct{ where, text string }

// schema returns the statements of the Up parts of all migrations, in order.
func schema(t *testing.T) []statement {
	t.Helper()
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	slices.Sort(names)
	var list []statement
	for _, name := range names {
		data, err := fs.ReadFile(migrations, name)
		if err != nil {
			t.Fatal(err)
		}
		_, up, ok := strings.Cut(string(data), "-- +goose Up")
		up, _, down := strings.Cut(up, "-- +goose Down")
		if !ok || !down {
			t.Errorf("%s lacks its Up or Down", name)
		}
		for _, text := range strings.Split(comment.ReplaceAllString(up, ""), ";") {
			if strings.TrimSpace(text) != "" {
				list = append(list, statement{name, strings.TrimSpace(text)})
			}
		}
	}
	return list
}

// program returns every statement that the program's packages hand to a
// transaction as a constant, or put together of constants of their package.
func program(t *testing.T) []statement {
	t.Helper()
	var list []statement
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			list = append(list, statements(t, path)...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 10 {
		t.Errorf("found %d statements in the program", len(list))
	}
	return list
}

// statements returns those of one package.
func statements(t *testing.T, dir string) []statement {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	consts := map[string]string{}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
		ast.Inspect(f, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == len(v.Names) {
				for i, name := range v.Names {
					if text, ok := constant(v.Values[i], consts); ok {
						consts[name.Name] = text
					}
				}
			}
			return true
		})
	}
	var list []statement
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Exec", "Insert", "Query", "QueryRow"}, sel.Sel.Name) {
				return true
			}
			if text, ok := constant(call.Args[0], consts); ok {
				list = append(list, statement{fset.Position(call.Pos()).String(), text})
			} else {
				t.Logf("%s: not a constant", fset.Position(call.Pos()))
			}
			return true
		})
	}
	return list
}

func constant(e ast.Expr, consts map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.Ident:
		text, ok := consts[e.Name]
		return text, ok
	case *ast.ParenExpr:
		return constant(e.X, consts)
	case *ast.BinaryExpr:
		x, okX := constant(e.X, consts)
		y, okY := constant(e.Y, consts)
		return x + y, okX && okY && e.Op == token.ADD
	}
	return "", false
}

func TestOneDialect(t *testing.T) {
	t.Parallel()
	for _, s := range append(schema(t), program(t)...) {
		for _, why := range lint(s.text) {
			t.Errorf("%s: %s", s.where, why)
		}
	}
}

// What we write runs on PostgreSQL too: its server applies the migrations
// and prepares every statement of the program.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	initdb, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(initdb) == 0 {
		t.Skip("PostgreSQL is not installed (apt install postgresql)")
	}
	bin := filepath.Dir(slices.Max(initdb))
	p := newPostgres(t, bin)
	var script strings.Builder
	places := map[string]string{}
	for _, s := range schema(t) {
		fmt.Fprintf(&script, "%s;\n\n", oneLine(s.text))
		places[oneLine(s.text)] = s.where
	}
	for i, s := range program(t) {
		text := fmt.Sprintf("PREPARE s%d AS %s", i, oneLine(numbered(s.text)))
		fmt.Fprintf(&script, "%s;\n\n", text)
		places[text] = s.where
	}
	out := p.run(t, script.String())
	failure := regexp.MustCompile(`ERROR: +(.*)\n(?:.*(?:HINT|DETAIL|POSITION).*\n)?.*STATEMENT: +(.*)`)
	for _, m := range failure.FindAllStringSubmatch(out, -1) {
		text := strings.TrimSuffix(strings.TrimSpace(m[2]), ";")
		t.Errorf("%s: %s in %s", places[text], m[1], text)
	}
	if strings.Contains(out, "ERROR") && !t.Failed() || strings.Contains(out, "FATAL") {
		t.Errorf("PostgreSQL said:\n%s", out)
	}
}

// numbered returns a statement with PostgreSQL's placeholders.
func numbered(text string) string {
	parts := strings.Split(text, "?")
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			fmt.Fprintf(&b, "$%d", i)
		}
		b.WriteString(p)
	}
	return b.String()
}

func oneLine(text string) string {
	return strings.Join(strings.Fields(comment.ReplaceAllString(text, "")), " ")
}

// postgres is a database cluster in a directory of its own, run in single
// user mode: no socket, no port, nothing to stop.
type postgres struct {
	bin, dir string
	attr     *syscall.SysProcAttr
}

// newPostgres makes a cluster. The server does not run as root: then it is
// run as nobody.
func newPostgres(t *testing.T, bin string) *postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "gatepost-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &postgres{bin: bin, dir: filepath.Join(dir, "data")}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("nobody")
		if err != nil {
			t.Skip("PostgreSQL does not run as root, and there is no user nobody")
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		p.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	cmd := exec.Command(filepath.Join(bin, "initdb"), "--no-sync", "-D", p.dir, "-U", "gatepost", "-A", "trust", "-E", "UTF8", "--locale=C")
	cmd.SysProcAttr, cmd.Dir = p.attr, dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return p
}

func (p *postgres) run(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), "--single", "-j", "-D", p.dir, "-c", "fsync=off", "postgres")
	cmd.SysProcAttr, cmd.Dir = p.attr, filepath.Dir(p.dir)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("postgres: %v\n%s", err, out)
	}
	return string(out)
}
