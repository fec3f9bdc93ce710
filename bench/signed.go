package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"gatepost/internal/dkim"
)

// Mail is verified that comes in the name of signedName from signedFrom, an
// address that may not relay, for signedTo, which leads to another host, and
// goes on with a signature or seal of the server's domain; and mail is signed
// that comes from a client that may relay, in the name of that domain.
const (
	signedName = "signed.example" // OpenDKIM's resolver knows that nothing is below test
	signedFrom = "127.20.0.1"
	signedTo   = "out@local.test"
	relayFrom  = "127.0.0.1"

	signedLetters = 64
	signedTime    = 500 // messages of one session; a stranger may not send without end
)

// letters are messages of signedName, each signed with one RSA key as most
// mail is, and the zone that goes with them.
type letters struct {
	list [][]byte
	zone string
}

// letters returns them, made once for all rounds.
func (b *bench) letters() (*letters, error) {
	if b.signed != nil {
		return b.signed, nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	p := base64.StdEncoding.EncodeToString(der)
	l := &letters{zone: fmt.Sprintf(`%[1]s. TXT "v=spf1 ip4:%[2]s -all"
_dmarc.%[1]s. TXT "v=DMARC1; p=reject"
s._domainkey.%[1]s. TXT "v=DKIM1; k=rsa; p=%[3]s" "%[4]s"
`, signedName, signedFrom, p[:200], p[200:])}
	for i := range signedLetters {
		header, body := letter("joe@"+signedName, i)
		s, err := dkim.NewSigner(header, []dkim.SigningKey{{Domain: signedName, Selector: "s", Signer: key}}, time.Now(), 0)
		if err != nil {
			return nil, err
		}
		s.Write(body)
		field, err := s.Sign()
		if err != nil {
			return nil, err
		}
		l.list = append(l.list, slices.Concat(field, header, []byte("\r\n"), body))
	}
	b.signed = l
	return l, nil
}

// letter returns a message of about 4 KiB.
func letter(from string, n int) (header, body []byte) {
	header = fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nSubject: load test %d\r\nDate: %s\r\nMessage-ID: <%d.%s>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n", from, signedTo, n, time.Now().Format(time.RFC1123Z), n, from)
	line := fmt.Sprintf("%06d The quick brown fox jumps over the lazy dog, as it has done since.\r\n", n)
	return header, bytes.Repeat([]byte(line), (4096-len(header))/len(line))
}

// post is mail of one kind and what the next hop must see of it.
type post struct {
	client, from, to string
	letters          [][]byte
	done             func(header string) bool
}

// forwards is mail from the world: who sends it is looked at, and the next hop
// is told what was found, signed or sealed by the server.
func forwards(b *bench, s server) (figures, error) {
	l, err := b.letters()
	if err != nil {
		return figures{}, err
	}
	return b.carry(s, 4000, post{client: signedFrom, from: "joe@" + signedName, to: signedTo, letters: l.list, done: func(header string) bool {
		return strings.Contains(header, "dkim=pass") && strings.Contains(header, "d=local.test") &&
			(strings.Contains(header, "spf=pass") || strings.Contains(header, "received-spf: pass"))
	}})
}

// signs is mail of a domain of the server's: it leaves with the signatures
// that the server makes.
func signs(b *bench, s server) (figures, error) {
	p := post{client: relayFrom, from: "admin@local.test", to: "r@remote.test"}
	for i := range signedLetters {
		header, body := letter(p.from, i)
		p.letters = append(p.letters, slices.Concat(header, []byte("\r\n"), body))
	}
	want := 2 // RSA and Ed25519
	if s.name() == "postfix" {
		want = 1
	}
	p.done = func(header string) bool {
		return strings.Count(header, "\ndkim-signature:") == want && strings.Contains(header, "d=local.test")
	}
	return b.carry(s, 4000, p)
}

// carry sends mail through a server to a next hop that looks whether the
// server has done its work. The rate is that from the first octet to the last
// delivery.
func (b *bench) carry(s server, messages int, p post) (f figures, err error) {
	n := b.messages(s, messages)
	var taken, done atomic.Int64
	var last atomic.Pointer[time.Time]
	next := &host{name: "next.test", take: func(r *bufio.Reader) error {
		header, err := readHeader(r)
		if err == nil && content(r) {
			now := time.Now()
			last.Store(&now)
			taken.Add(1)
			if p.done(header) {
				done.Add(1)
			}
		}
		return err
	}}
	ln, err := next.open(hop)
	if err != nil {
		return f, err
	}
	defer ln.Close()
	before, ours, began := used(s), self(), time.Now()
	acks, err := p.send(s.at(25), n)
	if err != nil {
		return f, err
	}
	if err := await("the next hop", func() bool { return taken.Load() >= int64(n) }); err != nil {
		return f, fmt.Errorf("%w: %d of %d", err, taken.Load(), n)
	}
	if done.Load() != taken.Load() {
		return f, fmt.Errorf("of %d messages %d arrived as they should", taken.Load(), done.Load())
	}
	f = figures{rate: float64(n) / last.Load().Sub(began).Seconds(), p50: acks[len(acks)/2], p99: acks[len(acks)*99/100]}
	f.cpu, f.others = per1000(used(s)-before, n), per1000(self()-ours, n)
	return f, nil
}

// readHeader reads up to the empty line, and returns what it read in small
// letters, each line behind a line end.
func readHeader(r *bufio.Reader) (string, error) {
	var b strings.Builder
	b.WriteByte('\n')
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == "\r\n" {
			return strings.ToLower(b.String()), err
		}
		b.WriteString(line)
	}
}

// send hands over n messages on 50 connections, and returns how long each
// acknowledgement took, in ms, the shortest first.
func (p *post) send(addr string, n int) ([]float64, error) {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	acks := make([]float64, n)
	crowd(50, func() {
		for next.Load() < int64(n) && failed.Load() == nil {
			if err := p.session(addr, &next, acks); err != nil {
				failed.Store(&err)
			}
		}
	})
	if e := failed.Load(); e != nil {
		return nil, *e
	}
	slices.Sort(acks)
	return acks, nil
}

// session is one connection, with as many messages as it may have.
func (p *post) session(addr string, next *atomic.Int64, acks []float64) error {
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(p.client)}}).Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := textproto.NewConn(conn)
	if err := say(c, "", 220, "EHLO client.test", 250); err != nil {
		return err
	}
	for range signedTime {
		i := int(next.Add(1)) - 1
		if i >= len(acks) {
			break
		}
		if err := say(c, "MAIL FROM:<"+p.from+">", 250, "RCPT TO:<"+p.to+">", 250, "DATA", 354); err != nil {
			return err
		}
		c.W.Write(p.letters[i%len(p.letters)])
		if err := c.PrintfLine("."); err != nil {
			return err
		}
		sent := time.Now()
		if err := say(c, "", 250); err != nil {
			return err
		}
		acks[i] = float64(time.Since(sent).Microseconds()) / 1000
	}
	return say(c, "QUIT", 221)
}

// used is the processor time of a server and of what it filters its mail
// with.
func used(s server) time.Duration {
	sum := cpu(s.pid())
	if p, ok := s.(*postfix); ok {
		for _, cmd := range p.filters {
			sum += cpu(cmd.Process.Pid)
		}
	}
	return sum
}

// self is our own, which is that of client, next hop and DNS here.
func self() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
