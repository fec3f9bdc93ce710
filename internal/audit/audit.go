// Package audit looks at a mail server from the outside and from the inside
// and says in plain sentences what is wrong and how to mend it.
//
// Now it knows this server: its records in the DNS, its name, certificate,
// doors, disk and clock. It changes nothing, and everything that it asks of
// the network is passed in and bounded in time.
package audit

// Level is how much a finding matters.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // works, but worse than it could
	Failure Level = "failure" // mail is or will be lost, refused or exposed
)

// FixRows is what is to be done about rows of the store that no crash leaves.
const FixRows = "No crash leaves this: the disk is damaged, the store was changed by hand, or Gatepost has a fault. Go back to a backup, or ask us with this sentence."

// Finding is one thing that was looked at.
type Finding struct {
	Check string `json:"check"` // what was looked at, as "dns.mx"
	Level Level  `json:"level"`
	Text  string `json:"text"`          // what was found, a sentence
	Fix   string `json:"fix,omitempty"` // what to do about it, a sentence
}

// Worst returns the gravest level among findings.
func Worst(list []Finding) Level {
	worst := OK
	for _, f := range list {
		if f.Level == Failure || f.Level == Warning && worst == OK {
			worst = f.Level
		}
	}
	return worst
}

func ok(check, text string) Finding { return Finding{Check: check, Level: OK, Text: text} }

func warning(check, text, fix string) Finding { return Finding{check, Warning, text, fix} }

func failure(check, text, fix string) Finding { return Finding{check, Failure, text, fix} }
