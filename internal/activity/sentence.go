package activity

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"gatepost/internal/envelope"
)

// Sentence tells the event in one plain sentence. What strangers wrote is in
// quotes, with everything escaped that could move a cursor or turn text
// around; addresses of ours are as they were typed.
func (e *Event) Sentence() string {
	s := e.what()
	if e.Kind != SignIn {
		s += e.asked()
	}
	return s + "."
}

// asked tells who asked for a change.
func (e *Event) asked() string {
	switch c := &e.Client; {
	case c.Protocol == Command && c.Operator != "":
		return " by an operator of this server (" + printable(c.Operator) + ")"
	case c.Protocol == Command:
		return " on the command line"
	case c.Name != "":
		return fmt.Sprintf("%s as %q", e.from(), c.Name)
	}
	return e.from()
}

// what is the sentence without its end.
func (e *Event) what() string {
	who := e.Account
	if who == "" {
		who = "nobody"
	}
	switch e.Kind {
	case SignIn:
		return e.signIn()
	case Password:
		return "The password of " + who + " was set"
	case DeviceAdded:
		return fmt.Sprintf("The device %q of %s got a password", e.Detail, who)
	case DeviceRemoved:
		return fmt.Sprintf("The password of the device %q of %s was taken away", e.Detail, who)
	case CertificateIssued:
		return fmt.Sprintf("The device %q of %s got a certificate", e.Detail, who)
	case CertificateRevoked:
		return fmt.Sprintf("The certificate of the device %q of %s was revoked", e.Detail, who)
	case AccountAdded:
		return "The account " + who + " was made"
	case AccountRemoved:
		return "The account " + who + " was removed"
	case Role:
		return "The role of " + who + " was set to " + e.Detail
	case Frozen:
		if e.Detail != "" {
			return "The account " + who + " was frozen, " + e.Detail + ","
		}
		return "The account " + who + " was frozen"
	case Released:
		return "The account " + who + " was released"
	case AliasSet:
		return "The alias " + e.Detail + " was set"
	case AliasRemoved:
		return "The alias " + e.Detail + " was removed"
	case Forwarding:
		return "Mail that reaches " + who + " was made to go elsewhere too: " + e.Detail
	case Recovery:
		if e.Detail == "" {
			return "Alerts of " + who + " were made to go to its mailbox only"
		}
		return "Alerts of " + who + " were made to go to " + e.Detail + " too"
	case FactorAdded:
		return fmt.Sprintf("%s got a second factor: %q", who, e.Detail)
	case FactorRemoved:
		return fmt.Sprintf("A second factor of %s was taken away: %q", who, e.Detail)
	case RecoveryUsed:
		return fmt.Sprintf("A recovery code of %s was used in place of its app%s; it has %s left", who, e.from(), e.Detail)
	case CodesMade:
		return "New recovery codes were made for " + who + ", and those before open nothing any more"
	case Export:
		return "All mail of " + who + " was exported"
	case Backup:
		return "A backup of everything was made"
	case GrantAdded, GrantRemoved, TokenReused:
		return e.program(who)
	}
	return fmt.Sprintf("%s of %s: %s", e.Kind, who, e.Detail) // of a newer Gatepost
}

// program tells what became of a program's tokens.
func (e *Event) program(who string) string {
	switch e.Kind {
	case GrantAdded:
		return fmt.Sprintf("The program %q was allowed to act for %s", e.Detail, who)
	case TokenReused:
		return fmt.Sprintf("The program %q may not act for %s any more: a secret of it was used twice, so somebody else has it", e.Detail, who)
	}
	return fmt.Sprintf("The program %q may not act for %s any more", e.Detail, who)
}

func (e *Event) signIn() string {
	switch {
	case e.Outcome == Done && e.Detail == others:
		return e.often("more sign-ins as "+e.Account+" than are told apart", "")
	case e.Outcome == Done:
		return e.often(e.Account+" signed in", e.how())
	case e.Detail == others:
		return e.often("more failed sign-ins as "+e.whom()+" than are told apart", "")
	case e.Outcome == Later:
		return e.often("a sign-in as "+e.whom(), e.from()+" was put off: "+e.Detail)
	}
	return e.often("a sign-in as "+e.whom(), e.from()+" was refused: "+e.Detail)
}

func (e *Event) whom() string {
	if e.Account == "" {
		return "somebody who is not here"
	}
	return e.Account
}

// often puts how often it happened between what and how.
func (e *Event) often(what, how string) string {
	if e.Times > 1 {
		what = fmt.Sprintf("%d times since %s: %s", e.Times, e.First.UTC().Format("15:04"), what)
	}
	if e.Account == "" || !strings.HasPrefix(what, e.Account) { // addresses stay as they are
		what = strings.ToUpper(what[:1]) + what[1:]
	}
	return what + how
}

// how tells everything about the client of a sign-in.
func (e *Event) how() string {
	s := e.from()
	if e.Client.Name != "" {
		s += fmt.Sprintf(" as %q", e.Client.Name)
	}
	s += ", " + envelope.Secured(e.Client.Version, e.Client.Cipher, e.Client.Group)
	if e.Credential != "" {
		s += ", with its " + printable(e.Credential) // what a device is called is its owner's word
		if e.Mechanism != "" {
			s += " (" + e.Mechanism + ")"
		}
	}
	return s
}

// from tells where a client was.
func (e *Event) from() string {
	c := &e.Client
	s := " from " + c.where()
	switch {
	case c.where() == "":
		return ""
	case c.Country != "" && c.Network != "":
		s += fmt.Sprintf(" (%s, %s)", c.Country, printable(c.Network))
	case c.Country+c.Network != "":
		s += " (" + c.Country + printable(c.Network) + ")"
	}
	return s
}

// printable escapes what is not ours: what a database of addresses holds, what
// somebody calls a device.
func printable(s string) string {
	s = fmt.Sprintf("%q", s)
	return s[1 : len(s)-1]
}

// View is an event as commands show it. Its field names in JSON are a
// contract.
type View struct {
	Time        time.Time `json:"time"`  // of the last
	First       time.Time `json:"first"` // of the first, if it happened more than once
	Count       int64     `json:"count"`
	Kind        Kind      `json:"kind"`
	Outcome     Outcome   `json:"outcome"`
	Account     string    `json:"account,omitempty"`
	Address     string    `json:"address,omitempty"` // or a network
	Country     string    `json:"country,omitempty"`
	Network     string    `json:"network,omitempty"`
	Protocol    string    `json:"protocol,omitempty"`
	Client      string    `json:"client,omitempty"`
	Operator    string    `json:"operator,omitempty"` // who gave a command
	TLS         string    `json:"tls,omitempty"`      // empty: in the clear, or not over the network
	Cipher      string    `json:"cipher,omitempty"`
	KeyExchange string    `json:"key_exchange,omitempty"`
	Mechanism   string    `json:"mechanism,omitempty"`
	Credential  string    `json:"credential,omitempty"`
	Detail      string    `json:"detail,omitempty"`
	Sentence    string    `json:"sentence"`
}

// View returns the event as commands show it.
func (e *Event) View() View {
	c := &e.Client
	v := View{
		Time: e.Last.UTC(), First: e.First.UTC(), Count: e.Times, Kind: e.Kind, Outcome: e.Outcome, Account: e.Account,
		Address: c.where(), Country: c.Country, Network: c.Network, Protocol: c.Protocol, Client: c.Name, Operator: c.Operator,
		Mechanism: e.Mechanism, Credential: e.Credential, Detail: e.Detail, Sentence: e.Sentence(),
	}
	if c.Version != 0 {
		v.TLS, v.Cipher = tls.VersionName(c.Version), tls.CipherSuiteName(c.Cipher)
	}
	if c.Group != 0 {
		v.KeyExchange = c.Group.String()
	}
	return v
}
