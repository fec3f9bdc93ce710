package guard

import (
	"fmt"
	"io"
	"strings"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/message"
)

// letter is a message that carries an alert.
type letter struct {
	*activity.Alert
	from      addr.Address
	to        addr.Address // the account
	messageID string
	now       time.Time
	link      string // locks the account; empty: there is none
}

// write writes it in canonical form. Nothing of the header is a stranger's
// word, and what is in the body is escaped.
func (l *letter) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "From: Gatepost <%s>\r\nTo: <%s>\r\n", l.from, l.to)
	fmt.Fprintf(&b, "Subject: %s\r\n", subject(l.Kind))
	fmt.Fprintf(&b, "Date: %s\r\nMessage-ID: %s\r\n", message.Date(l.now), l.messageID)
	b.WriteString("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	for i, p := range l.paragraphs() {
		if i > 0 {
			b.WriteString("\r\n")
		}
		wrap(&b, p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// subjects say in a few words what happened.
var subjects = map[activity.AlertKind]string{
	activity.Travel:         "Sign-ins to your mail from two countries at once",
	activity.NewCountry:     "A sign-in to your mail from a new country",
	activity.NewDevice:      "A sign-in to your mail with a new device or program",
	activity.NewNetwork:     "A sign-in to your mail from a new network",
	activity.OutdatedTLS:    "A program that reads or sends your mail is outdated",
	activity.Stolen:         "Somebody has a password of your mail",
	activity.Failures:       "Many failed attempts to sign in to your mail",
	activity.PasswordSet:    "The password of your mail was changed",
	activity.DeviceSet:      "A device was given a password for your mail",
	activity.ForwardingSet:  "Your mail now also goes elsewhere",
	activity.RecoverySet:    "Where alerts about your mail go was changed",
	activity.CertificateSet: "A device was given a certificate for your mail",
	activity.AccountFrozen:  "Your mail account was locked",
	activity.AccountFreed:   "Your mail account was released",
	activity.GrantSet:       "A program was allowed to use your mail",
	activity.TokenStolen:    "A program lost its access to your mail: its key was copied",
	activity.FactorSet:      "Your mail got a second factor",
	activity.FactorGone:     "A second factor of your mail was taken away",
	activity.CodeUsed:       "A recovery code signed in to your mail",
	activity.CodesSet:       "New recovery codes were made for your mail",
}

// subject says in a few words what an alert is about.
func subject(kind activity.AlertKind) string {
	if s, ok := subjects[kind]; ok {
		return s
	}
	return "Something happened to your mail"
}

// paragraphs are the text of the mail: what happened, how to tell whether it
// was you, what to do if not.
func (l *letter) paragraphs() []string {
	e := &l.Event
	list := []string{
		"This is about the mail of " + e.Account + ".",
		"On " + e.Last.UTC().Format("Monday, 2 January 2006, at 15:04 UTC") + ":",
		"    " + e.Sentence(),
	}
	list = append(list, l.meaning()...)
	list = append(list, l.remedy()...)
	list = append(list, "Whoever runs the server sees all that happened with: gatepost activity "+e.Account)
	if l.Last {
		list = append(list, "There were many such messages today. What else happens within a day is in that list, and is not told by mail.")
	}
	if l.link != "" {
		return append(list, "Gatepost never asks for your password. The one link in this message can lock your account, and nothing else; what is behind it asks for no password either. A message that asks for one is not from Gatepost.")
	}
	return append(list, "Gatepost never asks for your password, and there is no link in this message. One that has a link, or asks, is not from Gatepost.")
}

// remedy says what to do if it was somebody else.
func (l *letter) remedy() []string {
	who, ask := l.Event.Account, "ask "+l.from.Unicode()
	freeze := " with: gatepost account freeze " + who
	const after = " Mail still arrives then, and nothing is lost."
	switch {
	case l.Kind == activity.AccountFrozen:
		return []string{
			"To undo it, whoever runs the server (" + l.from.Unicode() + ") looks at what happened and at what is held back (gatepost queue list --held; what its owner did not write: gatepost queue drop ID), takes away the devices, certificates, programs and second factors that its owner does not know, which would open it again, sets another password, and releases it:",
			"    gatepost account device list " + who, "    gatepost account certificate list " + who,
			"    gatepost account grant list " + who, "    gatepost account factor list " + who,
			"    gatepost account password " + who, "    gatepost account release " + who,
		}
	case l.link == "":
		return []string{"If it was not you: change the password, from a device that you trust; or " + ask + " to stop all sign-ins at once," + freeze + "." + after}
	}
	return []string{
		"If it was not you: lock the account at once. Opening this address changes nothing yet, a button there does; it holds for two weeks:",
		"    " + l.link,
		"Nobody can sign in then, what was sent and has not left is held back, and only whoever runs the server can undo it (or do it," + freeze + ")." + after,
	}
}

// meaning says what it may be, and how to tell.
func (l *letter) meaning() []string {
	e := &l.Event
	novel := "What is new about it: " + l.Detail + "."
	switch l.Kind {
	case activity.Travel:
		return []string{novel + " There was a sign-in from another country less than two hours before, and nobody travels that fast.",
			"Was it you? A VPN, or a phone that goes through another country's network, looks like this. If you use neither, somebody has your password."}
	case activity.NewCountry:
		return []string{novel, "Was it you? Were you there at that time, or did you use a VPN? Then all is well, and you will not be told of this country again."}
	case activity.NewDevice:
		return []string{novel, "Was it you? Did you set up your mail on a phone or computer, or did a mail program get a new version, at about that time? Then all is well, and you will not be told of it again."}
	case activity.NewNetwork:
		return []string{novel, "Was it you? Did you travel, or change the company through which you reach the Internet? Then all is well, and you will not be told of this network again."}
	case activity.OutdatedTLS:
		return []string{"Nobody broke in. But this program protects its connection in a way that was replaced in 2018 (TLS 1.3): it, or the system that it runs on, is likely to have stopped getting security updates. See whether there is a newer version. You will not be told of this program again."}
	case activity.Failures:
		return []string{"So far in that hour: " + l.Detail + ". None of these got in.",
			"Was it you? A phone or program that still has an old password tries it again and again; then these come from networks that you use. Otherwise somebody is guessing. A long password that you use nowhere else cannot be guessed."}
	case activity.Stolen:
		return []string{"Nobody got in. But a password that was shown was right, and only what else you ask for kept them out: a second factor, or the network that a device is for.",
			"Was it you? A program that you set up with your main password, or a code that you mistyped, looks like this. If not, somebody has that password, from a page that only looked like ours perhaps: set another one, and take away the device if it was a device's."}
	case activity.PasswordSet:
		return []string{"Was it you, or somebody whom you asked? Then all is well. Programs that have the old password will ask for the new one."}
	case activity.DeviceSet:
		return []string{"Was it you? Then all is well. Such a password can send and read mail until it is taken away."}
	case activity.ForwardingSet:
		return []string{"Was it you, or somebody whom you asked? Then all is well. Somebody who broke in does this to read your mail when he cannot sign in any more; ask for it to be taken back, and look at what went there since."}
	case activity.CertificateSet:
		return []string{"Was it you, or somebody whom you asked? Then all is well. Whoever has it, and its key, can use your mail without a password until it expires or is revoked; with: gatepost account certificate revoke"}
	case activity.AccountFrozen:
		return []string{"Nobody can sign in to it now, whoever was signed in is out, and what it sent and has not left yet is held back. Mail still arrives, and nothing is lost."}
	case activity.AccountFreed:
		return []string{"It can be signed in to again, and what was held back of what it sent may leave. Was it you, or somebody whom you asked? Then all is well."}
	case activity.RecoverySet:
		return []string{"Was it you, or somebody whom you asked? Then all is well. Messages such as this one are also sent to that address; this one goes to the former and to the new."}
	case activity.GrantSet:
		return []string{"Was it you, on a page of this server, a moment ago? Then all is well. Otherwise somebody got you, or himself, to allow it: the program can use your mail until it is taken away, whatever your password is. Whoever runs the server sees it with: gatepost account grant list " + e.Account}
	case activity.TokenStolen:
		return []string{"Two had the same key, so one of them copied it from the other, and neither can use it any more. If the program was put back from a backup, or copied to a second computer, that was it: allow it once more. Otherwise somebody got at the device that the program is on."}
	case activity.FactorSet:
		return []string{"Was it you? Then all is well. From now on your password alone opens nothing, and programs for mail need a password of their own."}
	case activity.FactorGone:
		return []string{"Was it you, or somebody whom you asked? Then all is well. With the last one gone, your password alone opens your mail again."}
	case activity.CodeUsed:
		return []string{"Was it you? Then all is well; that code opens nothing any more. Otherwise somebody has your password and the paper with the codes: make new ones, and a new password."}
	case activity.CodesSet:
		return []string{"Was it you? Then all is well; keep them where the former ones were, and throw those away."}
	}
	return nil
}

// maxColumn is where lines of an alert are broken: RFC 5322, section 2.1.1.
const maxColumn = 76

// wrap writes a paragraph in lines; what it is indented by, all of them are.
func wrap(b *strings.Builder, text string) {
	indent := text[:len(text)-len(strings.TrimLeft(text, " "))]
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(indent)+len(line)+1+len(word) > maxColumn {
			b.WriteString(indent + line + "\r\n")
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	b.WriteString(indent + line + "\r\n")
}
