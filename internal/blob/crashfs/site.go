package crashfs

import (
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
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
