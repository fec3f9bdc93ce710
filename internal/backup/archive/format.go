// Package archive is the file that a backup is: what is in it, in which order,
// and how it is known to be whole. The package comment of backup shows it.
//
// It trusts nothing that it reads: members are plain files with plain names in
// known places, nothing is larger than the archive itself, and memory does not
// grow with it.
package archive

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Format is the version of what is written; older ones are read.
const Format = 1

// Names and prefixes of members.
const (
	Config = "gatepost.toml"
	Store  = "store.db"
	Files  = "files/" // that the configuration names
	Keys   = "keys/"
	Queue  = "queue/"
	Mail   = "mail/"

	head     = "backup.json"
	manifest = "manifest.json"
	sums     = "sums/"
)

// Bounds of what is read into memory, in octets, and of names.
const (
	MaxSmall = 1 << 20 // of the configuration, a file that it names, a key; and of what an archive says of itself
	MaxFiles = 1000    // that the configuration names; of keys
	maxName  = 100     // octets of a member's name
	every    = 1000    // members between two sums
)

// Head is what a backup begins with.
type Head struct {
	Format   int       `json:"gatepost_backup"`
	Made     time.Time `json:"made"`
	Hostname string    `json:"hostname"`
	Octets   int64     `json:"octets"` // of all members that follow, about
	Files    []Named   `json:"files,omitempty"`
}

// Named says which setting of the configuration names a file.
type Named struct {
	Setting string `json:"setting"`
	Member  string `json:"member"`
}

// Manifest is what a backup ends with.
type Manifest struct {
	Format   int       `json:"format"`
	Made     time.Time `json:"made"`
	Hostname string    `json:"hostname"`
	Members  int64     `json:"members"` // sums and manifest apart
	Octets   int64     `json:"octets"`  // of their contents
	Queued   int64     `json:"queued"`  // messages in the spool
	Files    int64     `json:"files"`   // of mail that are not in the store itself
	Sums     string    `json:"sums"`    // SHA-256 over the contents of all sums, in hexadecimal
	// Damage says, a sentence each, what could not be copied as it once was;
	// Damaged is how much that is.
	Damage  []string `json:"damage"`
	Damaged int64    `json:"damaged"`
}

// ErrBroken is wrapped by every error that says a backup is not what was
// written.
var ErrBroken = errors.New("this backup cannot be used")

// Broken returns an ErrBroken that says why.
func Broken(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBroken, fmt.Errorf(format, args...))
}

// checkFormat refuses what a later version has written.
func checkFormat(version int) error {
	switch {
	case version > Format:
		return fmt.Errorf("the backup was made by a newer Gatepost (its format is %d, this program knows %d); use that one", version, Format)
	case version < 1:
		return Broken("it has no format")
	}
	return nil
}

// Plain reports whether the last part of a member's name is harmless: no
// separator, no dot at its beginning, nothing that a shell or a terminal would
// take for something else.
func Plain(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return name != "" && name[0] != '.' && strings.Trim(name, letters) == ""
}

// Tamed makes a name plain, to be put behind something that is.
func Tamed(name string) string {
	name = strings.Map(func(r rune) rune {
		if Plain("x" + string(r)) {
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), maxName/2)]
}
