package crashfs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// Site tells a hook where in the code under test its operation was asked
// for: the file and line of the call, and, behind an arrow, of who called
// that function, since one that many use may be needed by some of them only.
func Site() string {
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	own := reflect.TypeFor[FS]().PkgPath() + "."
	var lines []string
	for inside := false; len(lines) < 2; {
		frame, more := frames.Next()
		switch {
		case strings.HasPrefix(frame.Function, own):
			inside = true // the hook's own frames are above
		case inside:
			dir := filepath.Base(filepath.Dir(frame.File))
			lines = append(lines, fmt.Sprintf("%s/%s:%d", dir, filepath.Base(frame.File), frame.Line))
		}
		if !more {
			break
		}
	}
	return strings.Join(lines, " < ")
}

// Syncs returns the lines of a package on which something is synced: what
// they say, by their places as Site names them. A test compares them with
// those that it has seen.
func Syncs(t testing.TB, dir string) map[string]string {
	t.Helper()
	lines := map[string]string{}
	full, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(full, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Split(string(source), "\n")
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Sync" || sel.Sel.Name == "SyncDir") {
				at := fset.Position(sel.Sel.Pos())
				place := fmt.Sprintf("%s/%s:%d", filepath.Base(full), filepath.Base(name), at.Line)
				lines[place] = strings.TrimSpace(text[at.Line-1])
			}
			return true
		})
	}
	return lines
}
