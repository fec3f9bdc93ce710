package crashfs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
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

// Syncs returns the lines of a package, as Site names them, on which
// something is synced. A test compares them with those that it has seen.
func Syncs(t testing.TB, dir string) (lines []string) {
	t.Helper()
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
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Sync" || sel.Sel.Name == "SyncDir") {
				at := fset.Position(sel.Sel.Pos())
				lines = append(lines, fmt.Sprintf("%s/%s:%d", filepath.Base(full), filepath.Base(name), at.Line))
			}
			return true
		})
	}
	return lines
}
