package envelope

import "gatepost/internal/message"

// JunkField names the field by which gate tells local to file a message into
// Junk, and people why. It counts in Header alone, which is ours; gate takes
// it out of what comes.
const JunkField = "X-Gatepost-Junk"

// IsJunk reports whether the message is to be filed into Junk.
func (e *Envelope) IsJunk() bool { return message.Has(e.Header, JunkField) }
