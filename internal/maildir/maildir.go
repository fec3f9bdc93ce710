// Package maildir knows the names of a Maildir: those of the files, which say
// when a message came and which flags it has, and those of the folders.
//
// # Standards
//
// The files are those of Maildir and of Dovecot, which adds keywords as small
// letters that a file of each folder, dovecot-keywords, explains. Folders are
// those of Maildir++: directories beside the inbox's whose names begin with a
// dot, as do their levels, written in the modified UTF-7 of RFC 3501, section
// 5.1.3.
//
// A level of a folder's name may hold what such a name cannot: a dot, a
// character that ends or leaves a path. That is written as "=XX".
//
// # Place in the path
//
// Commands import and export mailboxes with it. It is pure: it touches no
// disk.
//
// # Trust and limits
//
// Names may be anything. What DecodeFolder returns is for the caller to judge
// before it becomes a path or the name of a folder.
package maildir

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxKeywords is how many keywords a folder can have: a letter each.
const MaxKeywords = 26

// KeywordsFile is the file of a folder that explains the letters.
const KeywordsFile = "dovecot-keywords"

// flags are the letters of the flags, in the order that they have in a name.
var flags = []struct {
	letter byte
	flag   string
}{
	{'D', `\Draft`}, {'F', `\Flagged`}, {'P', "$Forwarded"}, {'R', `\Answered`}, {'S', `\Seen`}, {'T', `\Deleted`},
}

// Flags returns the flags that the name of a file in cur says. keywords are
// those of its folder.
func Flags(name string, keywords []string) (list []string) {
	_, info, ok := cutInfo(name)
	if !ok {
		return nil
	}
	for _, f := range flags {
		if strings.IndexByte(info, f.letter) >= 0 {
			list = append(list, f.flag)
		}
	}
	for i, k := range keywords[:min(len(keywords), MaxKeywords)] {
		if k != "" && strings.IndexByte(info, byte('a'+i)) >= 0 {
			list = append(list, k)
		}
	}
	return list
}

// cutInfo splits a name before ":2,". Where a file system knows no colon,
// programs write ";" or "!" for it.
func cutInfo(name string) (base, info string, ok bool) {
	for _, mark := range []string{":2,", ";2,", "!2,"} {
		if i := strings.LastIndex(name, mark); i >= 0 {
			return name[:i], name[i+len(mark):], true
		}
	}
	return name, "", false
}

// FileName returns the name of a message in cur: unique is a name that no
// other message has. Flags that have no letter and are not among keywords are
// left out.
func FileName(unique string, list, keywords []string) string {
	var info []byte
	for _, f := range flags {
		if slices.Contains(list, f.flag) {
			info = append(info, f.letter)
		}
	}
	for i, k := range keywords[:min(len(keywords), MaxKeywords)] {
		if slices.Contains(list, k) {
			info = append(info, byte('a'+i))
		}
	}
	return unique + ":2," + string(info)
}

// HasLetter reports whether a flag has a letter of its own.
func HasLetter(flag string) bool {
	for _, f := range flags {
		if f.flag == flag {
			return true
		}
	}
	return false
}

// Compare orders the names of files by when they came.
func Compare(a, b string) int {
	return cmp.Or(cmp.Compare(seconds(a), seconds(b)), strings.Compare(a, b))
}

// seconds returns the number that a name begins with.
func seconds(name string) (n int64) {
	for i := 0; i < len(name) && i < 18 && name[i] >= '0' && name[i] <= '9'; i++ {
		n = n*10 + int64(name[i]-'0')
	}
	return n
}

// Came returns the time that a name begins with, or zero.
func Came(name string) time.Time {
	if n := seconds(name); n > 0 {
		return time.Unix(n, 0).UTC()
	}
	return time.Time{}
}

// ParseKeywords reads the file KeywordsFile: lines of a number and a keyword.
func ParseKeywords(text string) []string {
	keywords := make([]string, MaxKeywords)
	for line := range strings.Lines(text) {
		number, word, ok := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		n, err := strconv.ParseUint(number, 10, 8)
		if ok && err == nil && n < MaxKeywords {
			keywords[n] = word
		}
	}
	return keywords
}

// FormatKeywords returns the file KeywordsFile.
func FormatKeywords(keywords []string) string {
	var b strings.Builder
	for i, k := range keywords {
		fmt.Fprintf(&b, "%d %s\n", i, k)
	}
	return b.String()
}
