package test

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// killed is how often TestKill kills the server. GATEPOST_KILLS=50 is the
// long version.
func killed(t *testing.T) int {
	t.Helper()
	n := 5
	if s := os.Getenv("GATEPOST_KILLS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			t.Fatalf("GATEPOST_KILLS=%s is not a number of kills", s)
		}
	}
	return n
}

// The server is killed at random moments while 20 clients send. Every message
// that was acknowledged arrives, whole, in each of its mailboxes exactly once
// and at the other server at least once; one that was not arrives whole or
// not at all.
func TestKill(t *testing.T) {
	t.Parallel()
	s, book := installBooked(t, t.TempDir(), "")
	for round := range killed(t) {
		s.busy(t, book, fmt.Sprintf("k%d", round), s.kill)
	}
	s.balance(t, book)
	if log := s.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the server complains:\n%s", log)
	}
}

// The one window in which mail to another server is sent twice: it took the
// message, and before its 250 is written down the power goes.
func TestSentAgain(t *testing.T) {
	t.Parallel()
	var s *server
	var first sync.Once
	taken := make(chan string, 9)
	sink := newPeer(t, nil)
	sink.sink = func(d delivery) {
		first.Do(func() { s.kill() })
		taken <- d.data
	}
	s = installIn(t, t.TempDir(), "again.test", sink.route("sink.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n[relay]\nnetworks = [\"127.0.0.0/8\"]\n")
	s.serve()
	c, _, err := connect(s.ip, "25")
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	for _, command := range []string{"EHLO client.test", "MAIL FROM:<a@client.test>", "RCPT TO:<x@sink.test>", "DATA"} {
		if reply, err := c.tell(command); err != nil || reply[0] > '3' {
			t.Fatalf("%s: %s, %v", command, reply, err)
		}
	}
	// The reply to this may be lost too: the first attempt does not wait for it.
	_, _ = c.tell("Subject: again\r\n\r\nhello\r\n.")
	once := <-taken
	s.serve()
	if again := <-taken; again != once {
		t.Errorf("%q, and then %q", once, again)
	}
	awaitFor(t, patience, func() string {
		if n := len(s.queue()); n > 0 {
			return fmt.Sprintf("%d messages are still queued", n)
		}
		return ""
	})
	if len(taken) > 0 {
		t.Errorf("sent a third time: %q", <-taken)
	}
}

// installBooked sets up a server with every mailbox of boxes and a sink, of
// which a book is kept.
func installBooked(t *testing.T, dir, more string) (*server, *book) {
	t.Helper()
	book := newBook()
	sink := newPeer(t, nil)
	sink.sink = func(d delivery) { book.arrived(sinkBox, d.data) }
	s := installIn(t, dir, "kill.test", sink.route("sink.test")+"[remote]\nprivate = [\"127.0.0.0/8\"]\n[relay]\nnetworks = [\"127.0.0.0/8\"]\n"+more)
	for _, box := range boxes[1:] {
		s.account(box)
	}
	return s, book
}

// busy starts the server, has 20 clients send, and lets something befall it
// at a random moment, after which nothing may answer.
func (s *server) busy(t *testing.T, book *book, prefix string, befall func()) {
	t.Helper()
	const clients, busiest = 20, 400 // acknowledgements between a start and the end
	s.serve()
	want := int64(rand.IntN(busiest))
	var acknowledged atomic.Int64
	enough := make(chan struct{})
	if want == 0 {
		close(enough)
	}
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			name := fmt.Sprintf("%s.%d", prefix, i)
			send(s, book, seeded(name), name, func() {
				if acknowledged.Add(1) == want {
					close(enough)
				}
			})
		})
	}
	select {
	case <-enough:
	case <-time.After(patience):
		t.Errorf("%s: %d of %d messages after %v", prefix, acknowledged.Load(), want, patience)
	}
	// At any moment of what goes on, and not only after a sync.
	time.Sleep(time.Duration(rand.Int64N(int64(20 * time.Millisecond))))
	befall()
	group.Wait()
}

// balance has the server deliver all that it still has, and compares the
// book with what arrived.
func (s *server) balance(t *testing.T, book *book) {
	t.Helper()
	if s.cmd == nil {
		s.serve()
	}
	awaitFor(t, 2*time.Minute, func() string {
		if n := len(s.queue()); n > 0 {
			s.gatepost("queue", "retry", "all") // a sink that was cut off is left alone for a while
			return fmt.Sprintf("%d messages are still queued", n)
		}
		return ""
	})
	for _, box := range boxes {
		s.exported(box, func(content string) { book.arrived(box, content) })
	}
	faults, summary := book.check()
	for _, fault := range faults {
		t.Error(fault)
	}
	t.Log(summary)
}

// boxes are the mailboxes that busy clients send to; sinkBox stands for the
// other server.
var boxes = []string{"anna@kill.test", "ben@kill.test", "cleo@kill.test"}

const sinkBox = "x@sink.test"

// send sends messages, one after the other, until the server is gone.
func send(s *server, book *book, random *rand.Rand, prefix string, acknowledged func()) {
	c, _, err := connect(s.ip, "25")
	if err != nil {
		return
	}
	defer c.conn.Close()
	if _, err := c.tell("EHLO client.test"); err != nil {
		return
	}
	for i := 0; ; i++ {
		token := fmt.Sprintf("%s.%d", prefix, i)
		var to []string
		for _, box := range append(boxes, sinkBox) {
			if random.IntN(3) == 0 {
				to = append(to, box)
			}
		}
		if len(to) == 0 {
			to = append(to, boxes[0])
		}
		book.sends(token, to)
		paths := make([]string, len(to))
		for k := range to {
			paths[k] = "<" + to[k] + ">"
		}
		reply, err := c.transact("<x@remote.test>", paths, book.content(token))
		if err != nil || !strings.HasPrefix(reply, "250") {
			book.refused(reply)
			return
		}
		book.acknowledges(token)
		acknowledged()
	}
}

// book knows what was sent and what became of it.
type book struct {
	mu     sync.Mutex
	sent   map[string]*sent // by token
	faults []string
	odd    map[string]int // refusals, by reply
	excuse string         // how refusals begin that are as they should be
}

type sent struct {
	to           []string
	acknowledged bool
	forbidden    bool // it was refused, so that nothing of it may arrive
	arrived      map[string]int
}

func newBook() *book { return &book{sent: map[string]*sent{}, odd: map[string]int{}} }

// seeded returns chance that follows from a text.
func seeded(text string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(text))
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

// content is the message of a token: it follows from that, and most are
// small.
func (b *book) content(token string) string {
	random := seeded(token)
	lines := random.IntN(100)
	if random.IntN(50) == 0 {
		lines = 5000 // a file of its own
	}
	var text strings.Builder
	fmt.Fprintf(&text, "From: x@remote.test\r\nSubject: %s\r\n\r\n", token)
	for range lines {
		fmt.Fprintf(&text, "%016x%016x%016x%016x\r\n", random.Uint64(), random.Uint64(), random.Uint64(), random.Uint64())
	}
	return text.String() + "The end of " + token + ".\r\n"
}

func (b *book) sends(token string, to []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[token] = &sent{to: to, arrived: map[string]int{}}
}

func (b *book) acknowledges(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[token].acknowledged = true
}

// forbids notes a refusal that a case expects.
func (b *book) forbids(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent[token].forbidden = true
}

// refused notes a refusal that no case expects; reply is empty if the server was gone.
func (b *book) refused(reply string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if reply != "" && (b.excuse == "" || !strings.HasPrefix(reply, b.excuse)) {
		b.odd[reply]++
	}
}

// arrived notes a message that was found in a mailbox.
func (b *book) arrived(box, content string) {
	_, rest, _ := strings.Cut(content, "\r\nSubject: ")
	token, _, _ := strings.Cut(rest, "\r\n")
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.sent[token]
	switch {
	case m == nil:
		b.faults = append(b.faults, fmt.Sprintf("%s has what nobody sent: %.200q", box, content))
	case !strings.HasSuffix(content, b.content(token)):
		b.faults = append(b.faults, fmt.Sprintf("%s has %s damaged, with %d octets", box, token, len(content)))
	default:
		m.arrived[box]++
	}
}

// check tells all that is not as it must be, and how much there was.
func (b *book) check() (faults []string, summary string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	faults = b.faults
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	acknowledged, deliveries, unacknowledged, again := 0, 0, 0, 0
	for token, m := range b.sent {
		if m.acknowledged {
			acknowledged++
		} else if len(m.arrived) > 0 {
			unacknowledged++
		}
		whole := 0
		for _, box := range m.to {
			n := m.arrived[box]
			whole += min(n, 1)
			deliveries += n
			if box == sinkBox {
				again += max(0, n-1)
			} else if n > 1 {
				fault("%s is in %s %d times", token, box, n)
			}
		}
		if whole != len(m.to) && (m.acknowledged || whole > 0) {
			fault("%s, acknowledged %v, went to %v and arrived %v", token, m.acknowledged, m.to, m.arrived)
		}
		if m.forbidden && whole > 0 {
			fault("%s was refused, and arrived %v", token, m.arrived)
		}
		if len(m.arrived) > whole {
			fault("%s went to %v and arrived %v", token, m.to, m.arrived)
		}
	}
	for reply, n := range b.odd {
		fault("%d times: %s", n, reply)
	}
	if acknowledged == 0 {
		fault("nothing was acknowledged")
	}
	return faults, fmt.Sprintf("%d messages sent, %d acknowledged; %d others arrived; %d deliveries, %d of them again to the other server",
		len(b.sent), acknowledged, unacknowledged, deliveries, again)
}

// The book sees what is wrong.
func TestBook(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lapse func(b *book, content string)
		good  bool
	}{
		"arrived":      {func(b *book, m string) { b.arrived("a", m); b.arrived(sinkBox, m) }, true},
		"sent again":   {func(b *book, m string) { b.arrived("a", m); b.arrived(sinkBox, m); b.arrived(sinkBox, m) }, true},
		"lost":         {func(*book, string) {}, false},
		"lost in one":  {func(b *book, m string) { b.arrived(sinkBox, m) }, false},
		"filed twice":  {func(b *book, m string) { b.arrived("a", m); b.arrived("a", m); b.arrived(sinkBox, m) }, false},
		"cut":          {func(b *book, m string) { b.arrived("a", m[:len(m)-2]); b.arrived(sinkBox, m) }, false},
		"to somebody":  {func(b *book, m string) { b.arrived("a", m); b.arrived("c", m); b.arrived(sinkBox, m) }, false},
		"from nowhere": {func(b *book, m string) { b.arrived("a", "\r\nSubject: x\r\n\r\n") }, false},
		"not as one":   {func(b *book, m string) { b.arrived("b", b.content("other")) }, false},
		"refused":      {func(b *book, m string) { b.arrived("a", m); b.arrived(sinkBox, m); b.forbids("other") }, true},
		"refused, here": {func(b *book, m string) {
			b.arrived("a", m)
			b.arrived(sinkBox, m)
			b.forbids("other")
			b.arrived("a", b.content("other"))
			b.arrived("b", b.content("other"))
		}, false},
		"also the others": {func(b *book, m string) { b.arrived("a", m); b.arrived(sinkBox, m); b.refused("452 no") }, false},
	} {
		b := newBook()
		b.sends("token", []string{"a", sinkBox})
		b.acknowledges("token")
		b.sends("other", []string{"a", "b"})
		c.lapse(b, "Received: x\r\n"+b.content("token"))
		if faults, _ := b.check(); (len(faults) == 0) != c.good {
			t.Errorf("%s: %q", name, faults)
		}
	}
}

// exported calls f with each message of an account.
func (s *server) exported(account string, f func(content string)) {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), account) + "/"
	s.gatepost("mailbox", "export", account, dir)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains("new cur", filepath.Base(filepath.Dir(path))) {
			return err
		}
		b, err := os.ReadFile(path)
		f(strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n", "\r\n"))
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}
