package page

import "strings"

// Done returns what a page says that was done just now. An address only names
// it: nobody can have a page of ours say what he likes.
func Done(name string) string { return dones[name] }

var dones = map[string]string{
	"signed-out":     "You are signed out.",
	"locked":         "The account is locked: nobody signs in to it any more, also no device. Mail still arrives, and nothing is lost. Whoever looks after this server can release it.",
	"factor-added":   "It was added. All other sessions were ended.",
	"factor-removed": "It was taken away. All other sessions were ended.",
	"device-removed": "The device was removed. Its password opens nothing any more.",
	"password-set":   "The password was changed. All other sessions were ended.",
	"session-ended":  "The session was ended.",
	"others-ended":   "All other sessions were ended.",
}

// Sentence returns an error as a sentence.
func Sentence(err error) string {
	s := err.Error()
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if strings.ContainsAny(s[len(s)-1:], ".!?") {
		return s
	}
	return s + "."
}
