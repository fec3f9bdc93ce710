package main

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// The crowd: mail to many destinations, of which some are dead or slow.
const (
	crowdDomains    = 10000
	crowdRecipients = 100 // of one message, each in another domain
	crowdMessages   = 10000

	// Every tenth domain is no good, in one of three ways by turns: nothing
	// answers (its packets vanish), the connection is refused, or its server
	// greets only after slowGreeting.
	crowdBad     = 10
	slowGreeting = 20 * time.Second
	nowhere      = "10.66.0.0/16" // a network of which all packets vanish
	probes       = 300
)

// domainName returns the nth domain of the crowd.
func domainName(n int) string { return fmt.Sprintf("d%d.crowd.test", n) }

// hostOf returns the address of a domain's mail host.
func hostOf(n int) string {
	if n%crowdBad == 0 {
		switch n / crowdBad % 3 {
		case 0:
			return fmt.Sprintf("10.66.%d.%d", n/250, n%250+1)
		case 1:
			return fmt.Sprintf("127.65.%d.%d", n/250, n%250+1)
		}
		return fmt.Sprintf("127.66.%d.%d", n/250, n%250+1)
	}
	return fmt.Sprintf("127.64.%d.%d", n/250, n%250+1)
}

// world is the rest of the internet: its DNS, and all of its mail hosts.
type world struct {
	dns     *dns.Server
	ln      net.Listener
	taken   atomic.Int64
	arrived sync.Map // of probes: when
}

// openWorld makes the world. Port 25 of every healthy and slow host is one
// listener; whom it is depends on the address that was dialled.
func openWorld() (*world, error) {
	if out, err := exec.Command("sh", "-c", "ip link add hole type veth peer name lost && ip link set lost up && ip link set hole arp off up && ip route add "+nowhere+" dev hole").CombinedOutput(); err != nil && !strings.Contains(string(out), "exists") {
		return nil, fmt.Errorf("a network where packets vanish: %w: %s", err, out)
	}
	w := &world{}
	pc, err := net.ListenPacket("udp", "127.0.0.10:53")
	if err != nil {
		return nil, err
	}
	w.dns = &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(answer)}
	go w.dns.ActivateAndServe()
	hosts := &host{name: "crowd.test", greet: greets, take: w.read}
	w.ln, err = hosts.open("0.0.0.0:25")
	return w, err
}

func (w *world) close() {
	w.dns.Shutdown()
	w.ln.Close()
}

// answer answers for crowd.test.
func answer(rw dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	name := q.Question[0].Name
	label, _, _ := strings.Cut(strings.TrimPrefix(name, "mx."), ".")
	n, err := strconv.Atoi(strings.TrimPrefix(label, "d"))
	var text string
	switch {
	case err != nil:
		m.Rcode = dns.RcodeNameError
	case q.Question[0].Qtype == dns.TypeMX:
		text = fmt.Sprintf("%s 3600 MX 10 mx.%s", name, name)
	case q.Question[0].Qtype == dns.TypeA:
		text = fmt.Sprintf("%s 3600 A %s", name, hostOf(n))
	}
	if rr, err := dns.NewRR(text); err == nil && rr != nil {
		m.Answer = append(m.Answer, rr)
	}
	rw.WriteMsg(m)
}

// greets is what a host does before it greets, which depends on the address
// that was dialled.
func greets(conn net.Conn) bool {
	switch host := conn.LocalAddr().String(); {
	case strings.HasPrefix(host, "127.65."):
		return false // as good as refused
	case strings.HasPrefix(host, "127.66."):
		time.Sleep(slowGreeting)
	}
	return true
}

// read reads content; a Subject that begins with "probe" is one of ours.
func (w *world) read(r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		switch {
		case err != nil:
			return err
		case line == ".\r\n":
			w.taken.Add(1)
			return nil
		case strings.HasPrefix(line, "Subject: probe"):
			w.arrived.Store(strings.TrimSpace(line), time.Now())
		}
	}
}

// manyDestinations measures how long mail to healthy hosts takes while a
// tenth of all destinations is dead or slow, beside what it takes when
// nothing else is queued.
func manyDestinations(b *bench, s server) (f figures, err error) {
	w, err := openWorld()
	if err != nil {
		return f, err
	}
	defer w.close()
	alone, err := w.probe(s, "alone")
	if err != nil {
		return f, err
	}
	before := memory(s.pid(), "Pss")
	n := b.n(crowdMessages)
	began := time.Now()
	if err := inject(s.at(25), n); err != nil {
		return f, err
	}
	injected := time.Since(began)
	during, err := w.probe(s, "during")
	if err != nil {
		return f, err
	}
	healthy := int64(n * crowdRecipients / crowdBad * (crowdBad - 1))
	if err := await("the healthy ones", func() bool { return w.taken.Load() >= healthy }); err != nil {
		return f, fmt.Errorf("%w: %d of %d", err, w.taken.Load(), healthy)
	}
	drained := time.Since(began)
	after, err := w.probe(s, "after")
	f.p50, f.p99 = after[0], after[1]
	f.rate = float64(healthy) / drained.Seconds()
	f.note = fmt.Sprintf("%d messages taken in %.0f s; p99 to a healthy host that nothing else waits for %.0f ms alone, %.0f ms while the crowd is worked off, %.0f ms with the bad ones left; %d MiB more memory",
		n, injected.Seconds(), alone[1], during[1], after[1], (memory(s.pid(), "Pss")-before)/1024)
	return f, err
}

// probe sends single messages to healthy hosts that nothing else waits for,
// and returns the median and the 99th percentile of what they take from
// acknowledgement to arrival, in ms.
func (w *world) probe(s server, name string) (q [2]float64, err error) {
	conn, err := textproto.Dial("tcp", s.at(25))
	if err != nil {
		return q, err
	}
	defer conn.Close()
	if err := say(conn, "", 220, "EHLO client.test", 250); err != nil {
		return q, err
	}
	sent := map[string]time.Time{}
	for i := range probes {
		subject := fmt.Sprintf("Subject: probe %s %d", name, i)
		to := domainName(crowdDomains + i*crowdBad + 1 + i%(crowdBad-1)) // beside the crowd
		if err := send(conn, []string{"r@" + to}, subject); err != nil {
			return q, err
		}
		sent[subject] = time.Now()
		time.Sleep(10 * time.Millisecond)
	}
	var took []float64
	for subject, at := range sent {
		var when any
		if err := await("a probe", func() (ok bool) { when, ok = w.arrived.Load(subject); return ok }); err != nil {
			return q, err
		}
		took = append(took, float64(when.(time.Time).Sub(at).Microseconds())/1000)
	}
	slices.Sort(took)
	return [2]float64{took[len(took)/2], took[len(took)*99/100]}, nil
}

// inject hands over the crowd's mail, over 20 connections.
func inject(addr string, messages int) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	crowd(20, func() {
		err := func() error {
			conn, err := textproto.Dial("tcp", addr)
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := say(conn, "", 220, "EHLO client.test", 250); err != nil {
				return err
			}
			for i := int(next.Add(1)) - 1; i < messages; i = int(next.Add(1)) - 1 {
				var to []string
				for k := range crowdRecipients {
					to = append(to, "r@"+domainName((i*crowdRecipients+k)%crowdDomains))
				}
				if err := send(conn, to, "Subject: crowd"); err != nil {
					return err
				}
			}
			return nil
		}()
		if err != nil {
			failed.Store(&err)
		}
	})
	if e := failed.Load(); e != nil {
		return *e
	}
	return nil
}

// say says commands, each followed by the code that is wanted for it.
func say(c *textproto.Conn, steps ...any) error {
	for i := 0; i < len(steps); i += 2 {
		if command := steps[i].(string); command != "" {
			if err := c.PrintfLine("%s", command); err != nil {
				return err
			}
		}
		if _, _, err := c.ReadResponse(steps[i+1].(int)); err != nil {
			return err
		}
	}
	return nil
}

// send hands over one small message, with all commands in one write.
func send(c *textproto.Conn, to []string, subject string) error {
	fmt.Fprint(c.W, "MAIL FROM:<sender@client.test>\r\n")
	for _, r := range to {
		fmt.Fprintf(c.W, "RCPT TO:<%s>\r\n", r)
	}
	if err := c.PrintfLine("DATA"); err != nil {
		return err
	}
	for range len(to) + 1 {
		if _, _, err := c.ReadResponse(250); err != nil {
			return err
		}
	}
	return say(c, "", 354, subject+"\r\n\r\nhello\r\n.", 250)
}
