package main

import (
	"net"
	"strings"

	"github.com/miekg/dns"
)

// names is the DNS of the lines whose servers look up what was published:
// records in memory, for whoever asks.
type names struct {
	server  *dns.Server
	records map[dns.Question][]dns.RR
	known   map[string]bool
	top     dns.RR // says for how long a denial may be kept
}

// openNames serves zones, written as in a zone file.
func openNames(zones ...string) (*names, error) {
	n := &names{records: map[dns.Question][]dns.RR{}, known: map[string]bool{}}
	for _, text := range zones {
		p := dns.NewZoneParser(strings.NewReader(text), ".", "")
		p.SetDefaultTTL(3600)
		for rr, ok := p.Next(); ok; rr, ok = p.Next() {
			h := rr.Header()
			q := dns.Question{Name: strings.ToLower(h.Name), Qtype: h.Rrtype, Qclass: h.Class}
			n.records[q], n.known[q.Name] = append(n.records[q], rr), true
		}
		if err := p.Err(); err != nil {
			return nil, err
		}
	}
	var err error
	if n.top, err = dns.NewRR(". 3600 SOA ns.test. hostmaster.test. 1 3600 600 86400 3600"); err != nil {
		return nil, err
	}
	conn, err := net.ListenPacket("udp", guardedDNS)
	if err != nil {
		return nil, err
	}
	n.server = &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(n.answer)}
	go n.server.ActivateAndServe()
	return n, nil
}

func (n *names) answer(rw dns.ResponseWriter, asked *dns.Msg) {
	m := new(dns.Msg).SetReply(asked)
	m.Authoritative = true
	q := asked.Question[0]
	q.Name = strings.ToLower(q.Name)
	if m.Answer = n.records[q]; m.Answer == nil {
		m.Ns = []dns.RR{n.top}
		if !n.known[q.Name] {
			m.Rcode = dns.RcodeNameError
		}
	}
	rw.WriteMsg(m)
}

func (n *names) close() {
	if n != nil {
		n.server.Shutdown()
	}
}
