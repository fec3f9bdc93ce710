package mailbox

import (
	"encoding/json"
	"strings"
)

// Flags are the system flags of a message: RFC 9051, section 2.3.2.
type Flags int64

// The flags; their values are on disk.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
)

var flagNames = []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`}

// Names returns the flags as IMAP spells them.
func (f Flags) Names() []string {
	names := []string{}
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// ParseFlags splits a list of flags into those of the system and the user's
// own. System flags that are not ours to keep (\Recent) are left out.
func ParseFlags(list []string) (f Flags, keywords []string) {
	for _, name := range list {
		if !strings.HasPrefix(name, `\`) {
			keywords = append(keywords, name)
			continue
		}
		for i, known := range flagNames {
			if strings.EqualFold(name, known) {
				f |= 1 << i
			}
		}
	}
	return f, keywords
}

// MarshalJSON writes the flags as a list of their names.
func (f Flags) MarshalJSON() ([]byte, error) { return json.Marshal(f.Names()) }
