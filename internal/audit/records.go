package audit

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/mtasts"
	"gatepost/internal/tlsrpt"
)

// Kind tells records apart by what they are for.
type Kind string

// The kinds.
const (
	KindMX      Kind = "mx"
	KindAddress Kind = "address"
	KindSPF     Kind = "spf"
	KindDKIM    Kind = "dkim"
	KindDMARC   Kind = "dmarc"
	KindTLSRPT  Kind = "tlsrpt"
	KindMTASTS  Kind = "mtasts"
	KindPolicy  Kind = "policy" // the host of the policy of MTA-STS
	KindCAA     Kind = "caa"
	KindSRV     Kind = "srv"
	KindTLSA    Kind = "tlsa"
)

// Record is one DNS record that a domain needs.
type Record struct {
	Kind  Kind   `json:"kind"`
	Name  string `json:"name"`  // fully qualified, without final dot
	Type  string `json:"type"`  // as in a zone file
	Value string `json:"value"` // as in a zone file
	Why   string `json:"why"`   // a sentence
	// Hold is a sentence that says why not to publish it now; empty: publish.
	Hold string `json:"-"`
	// Old are values at this name that go when the record is published.
	Old []string `json:"-"`

	server string // of SPF: the host that must be let send
	text   string // of TXT: the octets
	keys   *TLSA  // of TLSA: what it depends on
	port   uint16 // likewise
}

// TTL is how long others may keep our records, in seconds.
const TTL = 3600

// Line returns the record as a line of a zone file.
func (r Record) Line() string {
	return fmt.Sprintf("%s. %d IN %s %s", r.Name, TTL, r.Type, r.Value)
}

// ToPublish returns the records without those that are to be held back.
func ToPublish(list []Record) []Record {
	return slices.DeleteFunc(slices.Clone(list), func(r Record) bool { return r.Hold != "" })
}

// Domain is a domain of ours as its records see it.
type Domain struct {
	Name addr.Domain
	// Parked says that nobody sends or gets mail in it.
	Parked bool
	Keys   []Key // that its mail is signed with
	// MTASTS is the record that announces its policy of MTA-STS; empty if
	// it has none, or nobody hands it out.
	MTASTS string
}

// Key is a key record that a domain needs (DKIM).
type Key struct {
	Selector string
	Text     string // of its TXT record
	Why      string // a sentence
}

// Local parts of the addresses that other servers send their reports to.
const (
	DMARCReports = "dmarc-reports"
	TLSReports   = "tls-reports"
)

// Site is what the records of a domain depend on.
type Site struct {
	Hostname    addr.Domain
	Addrs       []netip.Addr // public addresses of this machine; may be empty
	Submission  int          // port of the door, 0 when it is closed
	Submissions int
	// Authority is the one that issues our certificates, as CAA names it;
	// empty if nobody knows.
	Authority string
}

// Records returns what a domain needs so that others find this server and
// believe its mail, or so that they believe none.
func (s Site) Records(d Domain) []Record {
	if d.Parked {
		return parked(d.Name)
	}
	host, domain, who := string(s.Hostname), string(d.Name), d.Name.Unicode()
	list := []Record{entry(KindMX, domain, "MX", "10 "+host+".", "Other servers bring mail for "+who+" to this one.")}
	for _, ip := range s.Addrs {
		list = append(list, entry(KindAddress, host, addressType(ip), ip.String(), "This is where "+host+" is."))
	}
	list = append(list, s.spf(domain, "v=spf1 mx -all", "Only this server sends mail of "+who+" (SPF)."))
	if d.Name != s.Hostname { // else the domain's covers the host
		list = append(list, s.spf(host, "v=spf1 a -all", "Bounces, which have no sender, come from this server alone (SPF)."))
	}
	for _, k := range d.Keys {
		list = append(list, text(KindDKIM, k.Selector+"._domainkey."+domain, k.Text, k.Why))
	}
	list = append(list,
		// RFC 9989, section 7.4: whoever asks for more before the reports are
		// read loses mail of their own.
		text(KindDMARC, "_dmarc."+domain, "v=DMARC1; p=none; rua=mailto:"+DMARCReports+"@"+domain,
			"Other servers report who sends mail in the name of "+who+"; once the reports show nothing of yours failing, change p=none to p=quarantine, then to p=reject (DMARC)."),
		text(KindTLSRPT, tlsrpt.RecordName(domain), "v=TLSRPTv1; rua=mailto:"+TLSReports+"@"+domain,
			"Other servers report where encryption on the way to "+who+" failed (TLS-RPT)."))
	if d.MTASTS != "" {
		list = append(list,
			entry(KindPolicy, "mta-sts."+domain, "CNAME", host+".", "Other servers fetch here what "+who+" promises about encryption (MTA-STS)."),
			text(KindMTASTS, mtasts.RecordName(domain), d.MTASTS, "Other servers learn that there is such a promise, and when it changes (MTA-STS)."))
	}
	if s.Authority != "" {
		list = append(list, entry(KindCAA, host, "CAA", `0 issue "`+s.Authority+`"`,
			"No other authority may issue a certificate for "+host+"."))
	}
	return append(list, s.services(d.Name)...)
}

// parked are the records of a domain without mail: nobody can forge it where
// they are heeded (RFC 7208, section 10.1.2; RFC 7505; RFC 9989).
func parked(d addr.Domain) []Record {
	domain, who := string(d), d.Unicode()
	return []Record{
		entry(KindMX, domain, "MX", nullMX, "Nobody has an address in "+who+": mail to it fails at once (null MX)."),
		text(KindSPF, domain, "v=spf1 -all", "No server sends mail of "+who+" (SPF)."),
		text(KindDMARC, "_dmarc."+domain, "v=DMARC1; p=reject", "Whatever comes in the name of "+who+" is forged and may be refused (DMARC)."),
	}
}

// services are the records by which mail clients find the open doors: RFC
// 6186, RFC 8314.
func (s Site) services(d addr.Domain) (list []Record) {
	for _, door := range []struct {
		name, how string
		port      int
	}{{"_submissions", "TLS", s.Submissions}, {"_submission", "STARTTLS", s.Submission}} {
		if door.port != 0 {
			list = append(list, entry(KindSRV, door.name+"._tcp."+string(d), "SRV",
				fmt.Sprintf("0 1 %d %s.", door.port, s.Hostname), "Mail clients find the door for sending by themselves ("+door.how+")."))
		}
	}
	return list
}

func entry(k Kind, name, rtype, value, why string) Record {
	return Record{Kind: k, Name: name, Type: rtype, Value: value, Why: why}
}

func text(k Kind, name, value, why string) Record {
	r := entry(k, name, "TXT", Quote(value), why)
	r.text = value
	return r
}

func (s Site) spf(name, value, why string) Record {
	r := text(KindSPF, name, value, why)
	r.server = string(s.Hostname)
	return r
}

func addressType(ip netip.Addr) string {
	if ip.Is4() {
		return "A"
	}
	return "AAAA"
}

// authorities are the names in CAA of those who run public ACME servers, by
// the servers' host (RFC 8659, section 4.2: each authority says its own).
var authorities = map[string]string{
	"acme-v02.api.letsencrypt.org":         "letsencrypt.org",
	"acme-staging-v02.api.letsencrypt.org": "letsencrypt.org",
	"acme.zerossl.com":                     "sectigo.com",
	"api.buypass.com":                      "buypass.com",
	"dv.acme-v02.api.pki.goog":             "pki.goog",
	"acme.ssl.com":                         "ssl.com",
}

// Authority returns what CAA calls the authority behind an ACME directory,
// empty if nobody knows.
func Authority(directory string) string {
	u, err := url.Parse(directory)
	if err != nil {
		return ""
	}
	return authorities[strings.ToLower(u.Hostname())]
}
