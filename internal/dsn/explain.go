package dsn

import (
	"strings"

	"gatepost/internal/smtp"
)

// words are what a status means and what its reader can do about it.
type words struct{ meaning, advice string }

// Advice that several explanations share.
const (
	checkAddress = "Check the address for typing errors, or ask the recipient for the current one."
	tryLater     = "Try again later, or reach the recipient in another way."
	askAdmin     = "Show this message to whoever runs your mail."
	noNeed       = "Nothing needs to be done."
)

// bySubject explains the subject and detail of RFC 3463 and its registry,
// for replies that are final.
var bySubject = map[string]words{
	"1.1":  {"There is no such mailbox.", checkAddress},
	"1.2":  {"The part of the address after the @ does not exist, or takes no mail.", checkAddress},
	"1.3":  {"The recipient's server does not accept the form of the address.", checkAddress},
	"1.6":  {"The recipient has moved to another address.", checkAddress},
	"1.8":  {"The recipient's server does not believe that your own address exists.", askAdmin},
	"1.10": {"The part of the address after the @ takes no mail at all.", checkAddress},
	"2.1":  {"The mailbox is closed or blocked.", "Reach the recipient in another way."},
	"2.2":  {"The mailbox is full.", tryLater},
	"2.3":  {"The message is larger than the mailbox allows.", "Send a smaller message, or a link in place of an attachment."},
	"3.4":  {"The message is larger than the recipient's server allows.", "Send a smaller message, or a link in place of an attachment."},
	"4.1":  {"The recipient's server did not answer.", tryLater},
	"4.2":  {"The connection to the recipient's server broke off.", tryLater},
	"4.3":  {"The recipient's server could not be looked up in the DNS.", tryLater},
	"4.4":  {"No server could be found that takes mail for the recipient.", checkAddress},
	"4.6":  {"The message went around in a circle between servers.", askAdmin},
	"4.7":  {"It was tried until the time for it was over.", tryLater},
	"6.3":  {"The message cannot be put into a form that the recipient's server takes.", "Send it without special characters, or in another format."},
	"6.7":  {"The recipient's server does not take addresses or subjects with characters beyond English ones.", "Use an address without these, if there is one."},
	"7.8":  {"Your mail server was not let in by the server that it sends through.", askAdmin},
	"7.10": {"The connection could not be protected as it must be.", askAdmin},
	"7.20": {"The recipient's server wants the message signed, and it is not (DKIM).", askAdmin},
	"7.23": {"The recipient's server does not accept that your mail comes from here (SPF).", askAdmin},
	"7.25": {"The recipient's server does not accept the address of your mail server (reverse DNS).", askAdmin},
	"7.26": {"The recipient's server could not verify that the message is yours (SPF, DKIM, DMARC).", askAdmin},
	"7.30": {"The connection to the recipient's server could not be protected as the message asks (REQUIRETLS).", askAdmin},
}

// byClass explains the rest by subject alone.
var byClass = map[string]words{
	"1": {"Something is wrong with the address.", checkAddress},
	"2": {"The mailbox does not take the message.", tryLater},
	"3": {"Something is wrong with the recipient's mail server.", tryLater},
	"4": {"Something is wrong on the way to the recipient's server.", tryLater},
	"5": {"The two mail servers did not understand each other.", askAdmin},
	"6": {"The recipient's server does not take the content of the message.", askAdmin},
	"7": {"The recipient's server refuses the message by its own rules, as it would unwanted mail.", "Reach the recipient in another way and ask them to let your address through."},
}

// Explain says in plain words what a reply means and what can be done. The
// words are ours: nothing of the reply is in them.
func Explain(r *smtp.Reply) (meaning, advice string) {
	if r.Temporary() {
		return explainTemporary(r)
	}
	class, subject, _ := strings.Cut(r.Enhanced, ".")
	if w, ok := bySubject[subject]; ok && class == "5" {
		return w.meaning, w.advice
	}
	top, _, _ := strings.Cut(subject, ".")
	if w, ok := byClass[top]; ok && class == "5" {
		return w.meaning, w.advice
	}
	switch r.Code {
	case 551:
		w := bySubject["1.6"]
		return w.meaning, w.advice
	case 552:
		return "The message or the mailbox is too large.", tryLater
	case 553:
		w := bySubject["1.3"]
		return w.meaning, w.advice
	}
	return "The recipient's server refuses the message.", "Its own words say why."
}

// explainTemporary explains replies that ask to come back.
func explainTemporary(r *smtp.Reply) (meaning, advice string) {
	text := strings.ToLower(r.Text)
	_, subject, _ := strings.Cut(r.Enhanced, ".")
	switch top, _, _ := strings.Cut(subject, "."); {
	case strings.Contains(text, "greylist"), strings.Contains(text, "graylist"):
		return "The server asks everybody whom it does not know yet to come back a little later.", noNeed
	case subject == "2.2", r.Code == 452 && subject == "":
		return "The mailbox is full.", "The recipient must make room."
	case subject == "4.7":
		return "It was tried until the time for it was over.", tryLater
	case subject == "4.3":
		return "The domain could not be looked up in the DNS.", "It usually passes."
	case subject == "4.1":
		return "The server did not answer.", "It usually passes."
	case subject == "4.2":
		return "The connection broke off.", "It usually passes."
	case subject == "3.1":
		return "The server's disk is full.", "Its administrator must make room."
	case r.Code == 421:
		return "The server is busy or being restarted.", "It usually passes."
	case top == "7":
		return "The server does not take the message at the moment, by its own rules.", "If it does not pass, the recipient can ask its administrator why."
	}
	return "The server cannot take the message at the moment.", "It usually passes."
}
