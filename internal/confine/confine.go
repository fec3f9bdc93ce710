// Package confine gives up what the server never needs of the file system, so
// that a fault in it reaches no further than its own files: nothing can be run,
// nothing written but its data, and nothing read but what was named (Landlock).
// It cannot be undone for as long as the process lives.
package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// Paths are directories and files that stay within reach, with all below
// them. Those that are missing are left out: what appears there later stays out
// of reach. Links are followed now; where they lead later does not count.
type Paths struct {
	Write []string
	Read  []string
}

// What may be done below a path. Neither is to run it.
const (
	mayRead  landlock.AccessFSSet = ll.AccessFSReadFile | ll.AccessFSReadDir
	mayWrite landlock.AccessFSSet = mayRead | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRemoveFile | ll.AccessFSRemoveDir |
		ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSMakeSock | ll.AccessFSMakeSym | ll.AccessFSRefer
	onFiles landlock.AccessFSSet = ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
)

// ErrNone says that this kernel cannot confine a process.
var ErrNone = errors.New("this kernel has no Landlock")

// To confines all threads of the process. On an older kernel, some rights
// cannot be given up and stay. After an error the process is as it was.
func To(p Paths) error {
	if v, err := ll.LandlockGetABIVersion(); err != nil || v < 1 {
		return ErrNone
	}
	var rules []landlock.Rule
	for _, list := range []struct {
		paths []string
		may   landlock.AccessFSSet
	}{{p.Write, mayWrite}, {p.Read, mayRead}} {
		for _, path := range list.paths {
			rule, err := ruleOf(path, list.may)
			if err != nil {
				return err
			}
			rules = append(rules, rule)
		}
	}
	if err := landlock.V5.BestEffort().RestrictPaths(rules...); err != nil {
		return fmt.Errorf("the process cannot be confined: %w", err)
	}
	return nil
}

// ruleOf allows what may be done below a path: fewer things with a file than
// with a directory.
func ruleOf(path string, may landlock.AccessFSSet) (landlock.Rule, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return landlock.PathAccess(may, path).IgnoreIfMissing(), nil
	}
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(real)
	if err == nil && !fi.IsDir() {
		may &= onFiles
	}
	return landlock.PathAccess(may, real).IgnoreIfMissing(), err
}
