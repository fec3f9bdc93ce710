package resolve

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// FuzzAnswer reads what a hostile server might send: it is refused, or it is
// the answer to the question, and walking it ends.
func FuzzAnswer(f *testing.F) {
	q := query{question{"example", dns.TypeMX}, 7, nil}
	serve := replies(f, zone, nil)
	for _, name := range []string{"example.", "www.example.", "ring.example.", "none.example."} {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeMX)
		m.Id = 7
		packets, err := serve("udp", m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packets[0])
		f.Add(packets[0][:len(packets[0])-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, _ := q.parse(b)
		if m == nil {
			return
		}
		if m.Id != 7 || len(m.Question) == 1 && host(m.Question[0].Name) != "example" {
			t.Error("took the answer to another question")
		}
		_, found, links, ttl := follow(m.Answer, q.question)
		if links > maxAliases+1 || ttl < 0 || ttl > maxTTL {
			t.Errorf("%d links, life %v", links, ttl)
		}
		for _, rr := range found {
			if rr.Header().Rrtype != q.qtype {
				t.Errorf("%v is no answer", rr)
			}
		}
		denialTTL(m)
		isBogus(m)
	})
}

func FuzzConf(f *testing.F) {
	f.Add("nameserver 192.0.2.1\noptions edns0\n")
	f.Add("nameserver\tfe80::1%eth0\r\nnameserver 1.2.3")
	f.Fuzz(func(t *testing.T, text string) {
		if n := len(parseConf(strings.NewReader(text))); n < 1 || n > maxServers {
			t.Errorf("%d servers", n)
		}
	})
}

func FuzzName(f *testing.F) {
	f.Add("Example.ORG.")
	f.Add(`a\.b`)
	f.Add("a..b")
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := canonical(s)
		if !ok {
			return
		}
		if again, ok := canonical(name); !ok || again != name {
			t.Errorf("%q is not stable", name)
		}
		m := new(dns.Msg)
		m.SetQuestion(name+".", dns.TypeA)
		b, err := m.Pack()
		if err != nil {
			t.Fatalf("%q cannot be asked: %v", name, err)
		}
		if got, err := (query{question{name, dns.TypeA}, m.Id, nil}).parse(echo(b)); got == nil || err != nil {
			t.Errorf("%q is not known again when it is echoed: %v", name, err)
		}
	})
}

// echo makes a query look like its answer.
func echo(b []byte) []byte {
	b[2] |= 0x80
	return b
}
