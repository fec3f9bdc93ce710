package mailbox

import "encoding/json"

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

// MarshalJSON writes the flags as a list of their names.
func (f Flags) MarshalJSON() ([]byte, error) { return json.Marshal(f.Names()) }
