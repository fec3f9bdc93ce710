// Package internal holds no code; this test holds the house together.
package internal

import (
	"bufio"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/oversize.txt anew")

// house is the order of the rooms, from the top: a package imports only what
// stands in a later row. Packages of one row do not import one another, but
// for those named in mayImport.
var house = [][]string{
	{"daemon"},
	{"config"},
	{"listen", "lock", "smtpd", "control", "web", "console", "oauthd"},
	{"moving"},
	{"backup", "inspect"},
	{"moment"},
	{"gate", "queue", "spool", "outbound", "remote", "local", "mailbox"},
	{"courier"},
	{"account", "acme", "forward", "grant", "hook", "hostkey", "proof", "reputation", "signing", "verdict", "witness"},
	{"activity"},
	{"tables"},
	{"audit"},
	{"transport"},
	{"dsn", "arc", "dmarc", "aggregate", "dane", "mtasts", "tlsrpt", "arf"},
	{"spf", "dkim", "oauth"},
	{"authres"},
	{"passwords"},
	{"letter"},
	{"confine"},
	{"envelope"}, {"smtpclient"}, {"smtp"}, {"mbox"}, {"message"}, {"maildir", "lines"}, {"parts"}, {"addr"}, {"reach", "place"}, {"dnsupdate"}, {"resolve"}, {"keys"}, {"store"}, {"blob"}, {"clock"},
}

var mayImport = map[string]string{"local": "mailbox"}

// Sizes that the style aims at, in lines. What exceeds them is listed in
// testdata/oversize.txt, so that growing past one is a decision.
const (
	maxPackage  = 1500
	maxFile     = 500
	maxFunction = 60
)

// room is one package: its files that are not tests, and whether it is
// fuzzed.
type room struct {
	dir    string // below internal, as "account" or "account/sasl"
	files  map[string]*ast.File
	fuzzed bool
}

func TestImportsPointDownward(t *testing.T) {
	t.Parallel()
	_, rooms := load(t)
	for _, r := range rooms {
		from := rank(r.top())
		if from < 0 {
			t.Errorf("internal/%s has no place in the house; give it one in this test and in the design", r.dir)
		}
		for file, f := range r.files {
			for _, other := range ours(f) {
				top, _, nested := strings.Cut(other, "/")
				switch {
				case top == r.top():
				case nested:
					t.Errorf("%s imports internal/%s, which belongs to %s alone", file, other, top)
				case mayImport[r.top()] == top:
				case rank(top) <= from:
					t.Errorf("%s imports internal/%s, which does not stand below it", file, other)
				}
			}
		}
	}
}

// Packages that are fuzzed start no database: a fuzz run would spend its
// time there.
func TestFuzzedPackagesDoNotImportStore(t *testing.T) {
	t.Parallel()
	_, rooms := load(t)
	imports := map[string][]string{}
	for _, r := range rooms {
		for _, f := range r.files {
			imports[r.dir] = append(imports[r.dir], ours(f)...)
		}
	}
	var reaches func(from string, seen map[string]bool) bool
	reaches = func(from string, seen map[string]bool) bool {
		if from == "store" {
			return true
		}
		if seen[from] {
			return false
		}
		seen[from] = true
		return slices.ContainsFunc(imports[from], func(to string) bool { return reaches(to, seen) })
	}
	for _, r := range rooms {
		if r.fuzzed && reaches(r.dir, map[string]bool{}) {
			t.Errorf("internal/%s is fuzzed and imports store", r.dir)
		}
	}
}

// passedIn are the calls that reach for what is to be handed in: the wall
// clock, timers, the network, the system's randomness, the end of the
// process. The rooms named may make them.
var passedIn = map[string][]string{
	"time.Now": {"clock"}, "time.Sleep": nil, "time.After": nil, "time.NewTimer": nil, "time.NewTicker": nil,
	"time.Tick": nil, "time.AfterFunc": {"clock"}, "time.Since": nil, "time.Until": nil,
	"net.Dial": nil, "net.DialTimeout": nil, "net.LookupHost": nil, "net.LookupMX": nil, "net.LookupIP": nil,
	"net.LookupTXT": nil, "net.LookupAddr": nil,
	"os.Exit": nil, "log.Fatal": nil, "log.Fatalf": nil,
}

func TestClockAndNetworkArePassedIn(t *testing.T) {
	t.Parallel()
	fset, rooms := load(t)
	for _, r := range rooms {
		for _, f := range r.files {
			ast.Inspect(f, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := sel.X.(*ast.Ident)
				if !ok {
					return true
				}
				allowed, watched := passedIn[x.Name+"."+sel.Sel.Name]
				if watched && !slices.Contains(allowed, r.top()) {
					t.Errorf("%s: %s.%s is to be passed in", fset.Position(n.Pos()), x.Name, sel.Sel.Name)
				}
				return true
			})
		}
	}
}

func TestNoHiddenWork(t *testing.T) {
	t.Parallel()
	fset, rooms := load(t)
	for _, r := range rooms {
		for _, f := range r.files {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: an init function works where no reader looks", fset.Position(fn.Pos()))
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	t.Parallel()
	_, rooms := load(t)
	for _, r := range rooms {
		documented := 0
		for _, f := range r.files {
			if f.Doc.Text() != "" {
				documented++
			}
		}
		if documented != 1 {
			t.Errorf("internal/%s has %d package comments", r.dir, documented)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	got := strings.Join(oversize(t), "\n")
	const list = "testdata/oversize.txt"
	if *update {
		if err := os.WriteFile(list, []byte(got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("larger than the style aims at:\n%s", got)
	if strings.TrimSpace(string(want)) != got {
		t.Errorf("%s says something else; split what grew, or run go test ./internal -update and say why in the commit", list)
	}
}

// oversize lists what exceeds the sizes, without counts, so that the list
// changes only when something crosses a line.
func oversize(t *testing.T) []string {
	fset, rooms := load(t)
	var list []string
	for _, r := range rooms {
		total := 0
		for file, f := range r.files {
			n := lineCount(t, file)
			total += n
			if n > maxFile {
				list = append(list, fmt.Sprintf("file     internal/%s", file))
			}
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if ok && fset.Position(fn.End()).Line-fset.Position(fn.Pos()).Line+1 > maxFunction {
					list = append(list, fmt.Sprintf("function internal/%s %s", file, fn.Name.Name))
				}
			}
		}
		if total > maxPackage {
			list = append(list, fmt.Sprintf("package  internal/%s", r.dir))
		}
	}
	slices.Sort(list)
	return list
}

func lineCount(t *testing.T, file string) int {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); n++ {
	}
	return n
}

// load parses every package below internal.
func load(t *testing.T) (*token.FileSet, []*room) {
	t.Helper()
	fset := token.NewFileSet()
	rooms := map[string]*room{}
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && d.Name() == "testdata" {
			return cmpSkip(err)
		}
		dir := filepath.ToSlash(filepath.Dir(p))
		if d.IsDir() || path.Ext(p) != ".go" || dir == "." {
			return nil
		}
		if rooms[dir] == nil {
			rooms[dir] = &room{dir: dir, files: map[string]*ast.File{}}
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if strings.HasSuffix(p, "_test.go") {
			rooms[dir].fuzzed = rooms[dir].fuzzed || hasFuzz(f)
		} else {
			rooms[dir].files[p] = f
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var list []*room
	for _, r := range rooms {
		if len(r.files) > 0 {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *room) int { return strings.Compare(a.dir, b.dir) })
	return fset, list
}

func cmpSkip(err error) error {
	if err != nil {
		return err
	}
	return fs.SkipDir
}

func hasFuzz(f *ast.File) bool {
	return slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
		fn, ok := d.(*ast.FuncDecl)
		return ok && strings.HasPrefix(fn.Name.Name, "Fuzz")
	})
}

// top returns the package that stands in the house; a sub-package lives with
// its parent.
func (r *room) top() string {
	top, _, _ := strings.Cut(r.dir, "/")
	return top
}

// ours returns the packages below internal that a file imports.
func ours(f *ast.File) []string {
	var list []string
	for _, im := range f.Imports {
		if p, ok := strings.CutPrefix(strings.Trim(im.Path.Value, `"`), "gatepost/internal/"); ok {
			list = append(list, p)
		}
	}
	return list
}

// rank returns the row of a package, -1 if it has none.
func rank(pkg string) int {
	return slices.IndexFunc(house, func(row []string) bool { return slices.Contains(row, pkg) })
}
