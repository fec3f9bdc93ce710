package moving

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Bounds of a folder's name: those of the mailbox.
const (
	maxName  = 255 // octets
	maxDepth = 16  // levels
	maxLevel = 120 // octets of one level that was longer than a name may be
)

// folderName makes the name of a folder out of levels that anybody may have
// written: no level is empty, "." or "..", or has a character that separates
// levels, is a wildcard or misleads.
func folderName(levels []string) string {
	var clean []string
	for _, level := range levels {
		clean = append(clean, cleanLevel(level))
	}
	if len(clean) == 0 {
		return inbox
	}
	if len(clean) > maxDepth {
		clean = append(clean[:maxDepth-1:maxDepth-1], strings.Join(clean[maxDepth-1:], "_"))
	}
	if strings.HasPrefix(clean[0], "#") {
		clean[0] = "_" + clean[0][1:]
	}
	if strings.EqualFold(clean[0], inbox) {
		clean[0] = inbox
	}
	name := strings.Join(clean, "/")
	if len(name) <= maxName {
		return name
	}
	// Two long names that begin alike stay two.
	sum := sha256.Sum256([]byte(name))
	return cutText(strings.ReplaceAll(name, "/", "_"), maxLevel) + "~" + hex.EncodeToString(sum[:8])
}

func cleanLevel(level string) string {
	level = norm.NFC.String(strings.ToValidUTF8(level, "_"))
	level = strings.Map(func(r rune) rune {
		if r == '/' || r == '*' || r == '%' || unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control) {
			return '_'
		}
		return r
	}, level)
	if level == "" || level == "." || level == ".." {
		return "_"
	}
	return level
}

// cutText shortens text without splitting a character.
func cutText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// maxKeyword bounds a keyword, in octets.
const maxKeyword = 64

// cleanFlags returns the flags in the form that IMAP gives them: system flags
// as they are, others as atoms (RFC 9051, section 9, flag-keyword).
func cleanFlags(flags []string) (list []string) {
	for _, f := range flags {
		if strings.HasPrefix(f, `\`) {
			if letter, _ := letterOf(f); letter != 0 {
				list = append(list, f)
			}
			continue
		}
		f = strings.Map(func(r rune) rune {
			if r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) {
				return '_'
			}
			return r
		}, f)
		if f != "" && strings.Trim(f, "_") != "" && len(f) <= maxKeyword && len(list) < maxLabels {
			list = append(list, f)
		}
	}
	return list
}
