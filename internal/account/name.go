package account

import (
	"fmt"
	"strings"

	"golang.org/x/text/secure/precis"

	"gatepost/internal/addr"
)

// maxName bounds the local part of a new account, in octets: RFC 5321,
// section 4.5.3.1.1. Other servers may hold us to it.
const maxName = 64

// nameMarks are the characters of ASCII, beside letters and digits, that the
// name of an account may hold. Left out are the tag's plus and what shells,
// old routes and other programs take for something else.
const nameMarks = "._-'"

// checkName reports why nobody may have a folded local part as a new
// account's name.
func checkName(local string) error {
	if err := checkLocal(local); err != nil {
		return err
	}
	for _, c := range local {
		if c < 0x80 && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !strings.ContainsRune(nameMarks, c) {
			return fmt.Errorf("the name %q has the character %q; an account's may hold letters, digits, dots, hyphens, underscores and apostrophes", local, c)
		}
	}
	return nil
}

// checkLocal reports why a folded local part may not be made ours. It must
// be what every device makes of it: the profile UsernameCaseMapped of RFC
// 8265, section 3.3 leaves out characters that look like others or that
// some programs turn into others (Ⅳ, ﬁ, full width), which would be two
// spellings of one name to some and two names to others.
func checkLocal(local string) error {
	if len(local) > maxName {
		return fmt.Errorf("the name %q is longer than %d octets", local, maxName)
	}
	if local == "" || addr.Quote(local) != local {
		return fmt.Errorf("the name %q would have to be written in quotes, which many programs cannot", local)
	}
	mapped, err := precis.UsernameCaseMapped.String(local)
	if err != nil || mapped != local {
		return fmt.Errorf("the name %q has characters that look like others, or that not every program writes alike", local)
	}
	return nil
}
