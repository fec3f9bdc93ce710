package oauthd

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/grant"
	"gatepost/internal/oauth"
)

// device answers a device that wants a code to show: RFC 8628, section 3.1.
func (s *Server) device(w http.ResponseWriter, r *http.Request) {
	d, err := s.newDevice(r)
	s.answer(w, r, d, err)
}

func (s *Server) newDevice(r *http.Request) (*oauth.DeviceAnswer, error) {
	p, bad := form(r)
	if bad != nil {
		return nil, bad
	}
	id, bad := p.Client()
	if bad != nil {
		return nil, bad
	}
	scope, bad := oauth.ParseScope(p["scope"])
	if bad != nil {
		return nil, bad
	}
	program, err := s.o.Grants.Client(r.Context(), id)
	if errors.Is(err, grant.ErrUnknown) {
		return nil, &oauth.Error{Code: oauth.InvalidClient, Text: "no such client"}
	}
	if err != nil {
		return nil, err
	}
	who := client(r)
	d, err := s.o.Grants.NewDevice(program, scope, who.Address, cut(who.Name))
	if err != nil {
		return nil, err
	}
	d.Page = s.o.Issuer + oauth.PagePath
	return d, nil
}

// maxAgent bounds what is shown of what a device calls itself, in octets.
const maxAgent = 100

func cut(s string) string { return s[:min(len(s), maxAgent)] }

// page asks for the code that a device shows, then whether it may use the
// mail. A code in the address is not looked at: it is to be typed, by
// somebody who sees the device.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "this takes GET and POST", http.StatusMethodNotAllowed)
		return
	}
	a, ok := s.visitor(w, r, oauth.PagePath)
	switch {
	case !ok:
	case r.Method == http.MethodGet:
		s.entry(w, r, http.StatusOK, "")
	default:
		s.typed(w, r, a)
	}
}

// entry asks for a code.
func (s *Server) entry(w http.ResponseWriter, r *http.Request, status int, problem string) {
	s.show(w, r, status, "Connect a device", "entry", struct{ Problem string }{problem})
}

// typed answers somebody who typed a code, or decided about one.
func (s *Server) typed(w http.ResponseWriter, r *http.Request, a account.Account) {
	p, ok := s.posted(w, r, a)
	if !ok {
		return
	}
	var d grant.Device
	var err error
	answer := p["answer"]
	if answer == "" || p["account"] == "" {
		d, err = s.o.Grants.Find(a.ID, p["code"])
	} else {
		d, err = s.o.Grants.Decide(owner(a), p["code"], answer == "allow", client(r))
	}
	switch {
	case errors.Is(err, grant.ErrGuesses):
		s.entry(w, r, http.StatusTooManyRequests, "That were too many wrong codes. Wait ten minutes.")
	case err != nil:
		s.entry(w, r, http.StatusNotFound, "There is no device that waits with this code. Look at it once more; after ten minutes the device has to show a new one.")
	case answer == "" || p["account"] == "":
		s.ask(w, r, a, p["code"], d)
	case answer == "allow":
		s.message(w, r, http.StatusOK, "Allowed", "The device goes on by itself in a few seconds. Whoever runs this server can take it back at any time.")
	default:
		s.message(w, r, http.StatusOK, "Not allowed", "The device gets nothing. If somebody asked you to type that code, he wanted to read your mail: tell whoever runs this server.")
	}
}

// ask asks whether a device may use the mail, and says what there is to tell
// one's own from a phisher's.
func (s *Server) ask(w http.ResponseWriter, r *http.Request, a account.Account, code string, d grant.Device) {
	here := client(r).Address
	s.show(w, r, http.StatusOK, "May this device use your mail?", "device", question{
		Action: oauth.PagePath, Account: a.Address.String(), Shown: a.Address.Unicode(), Program: d.Client.Name, BuiltIn: d.Client.BuiltIn,
		Send: d.Scope.Send, Read: d.Scope.Read,
		Code: code, From: s.where(d.From), Here: s.where(here), Agent: d.Agent, Near: grant.Near(here, d.From),
		Ago: ago(s.o.Clock.Now().Sub(d.Asked)),
	})
}

// where writes an address for people.
func (s *Server) where(ip netip.Addr) string {
	if !ip.IsValid() {
		return "an address that is not known"
	}
	country, network := s.o.Locate(ip)
	switch {
	case country != "" && network != "":
		return fmt.Sprintf("%s (%s, %s)", ip, country, network)
	case country+network != "":
		return fmt.Sprintf("%s (%s)", ip, country+network)
	}
	return ip.String()
}

func ago(d time.Duration) string {
	switch m := int(d / time.Minute); m {
	case 0:
		return "less than a minute ago"
	case 1:
		return "a minute ago"
	default:
		return fmt.Sprintf("%d minutes ago", m)
	}
}
