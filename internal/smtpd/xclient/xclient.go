// Package xclient reads what a proxy says of the client behind it: XCLIENT, an
// extension of Postfix (https://www.postfix.org/XCLIENT_README.html).
package xclient

import (
	"net/netip"
	"strconv"
	"strings"

	"gatepost/internal/smtp"
)

// Client is what a proxy says of a client.
type Client struct {
	Addr netip.Addr // zero: not said, or not known
	Port uint16     // zero likewise
	Helo string     // likewise
}

// Keyword is what EHLO offers where XCLIENT may be said. LOGIN is not
// among the attributes: nobody is signed in on a proxy's word.
const Keyword = "XCLIENT NAME ADDR PORT HELO"

var errForm = &smtp.Reply{Code: 501, Enhanced: "5.5.4", Text: "the form is XCLIENT NAME=VALUE ..., with the names that EHLO offers"}

// Parse reads the arguments of XCLIENT. What is not known is
// [UNAVAILABLE] or [TEMPUNAVAIL]. The client's name is not used: it is looked
// up here.
func Parse(args string) (c Client, bad *smtp.Reply) {
	seen := map[string]bool{}
	for _, word := range strings.Split(args, " ") {
		name, value, ok := strings.Cut(word, "=")
		name = strings.ToUpper(name)
		value, plain := smtp.DecodeXtext(value)
		if !ok || !plain || seen[name] {
			return Client{}, errForm
		}
		seen[name] = true
		if !c.set(name, value) {
			return Client{}, errForm
		}
	}
	return c, nil
}

// set takes one attribute.
func (c *Client) set(name, value string) (ok bool) {
	known := value != "[UNAVAILABLE]" && value != "[TEMPUNAVAIL]"
	switch name {
	case "NAME":
		return value != ""
	case "ADDR":
		if !known {
			return true
		}
		if len(value) > 5 && strings.EqualFold(value[:5], "IPV6:") {
			value = value[5:]
		}
		a, err := netip.ParseAddr(value)
		c.Addr = a.Unmap()
		return err == nil && a.Zone() == ""
	case "PORT":
		if !known {
			return true
		}
		n, err := strconv.ParseUint(value, 10, 16)
		c.Port = uint16(n)
		return err == nil
	case "HELO":
		if !known {
			return true
		}
		var bad *smtp.Reply
		c.Helo, bad = smtp.ParseHelo(value)
		return bad == nil
	}
	return false
}
