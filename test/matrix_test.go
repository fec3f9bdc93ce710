package test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatepost/internal/transport/matrix"
)

// attack is a row of the table in docs/transport.md: what is done to a next
// hop, and what the policies beside it say.
type attack struct {
	shows      string // the certificate; none: no TLS; refused, broken: TLS that does not work
	middlebox  bool   // something on the way resets large handshakes
	tlsa       string // right, other, PKIX: also beside the policies that need none
	dns        string // bogus, SERVFAIL: what comes of the look-up of TLSA; MX: that is bogus
	unsigned   bool   // no DNSSEC
	policy     string // list, dead, certificate, unreadable, replaced: what is wrong with MTA-STS, likewise
	cached     bool   // the policy was fetched before
	remembered bool   // the level was reached before
	offers     bool   // it offers REQUIRETLS, which Postfix does not
	param      string // of MAIL
	field      string
}

var attacks = map[string]attack{
	"nothing is wrong":                    {shows: "good"},
	"the handshake is reset for its size": {shows: "good", middlebox: true},
	"STARTTLS stripped":                   {shows: "none"},
	"STARTTLS refused":                    {shows: "refused"},
	"the handshake breaks":                {shows: "broken"},
	"wrong name":                          {shows: "wrong name"},
	"expired":                             {shows: "expired"},
	"self-signed":                         {shows: "self-signed"},
	"unknown authority":                   {shows: "unknown"},

	"TLSA mismatch":                            {shows: "good", tlsa: "other"},
	"TLSA right, name wrong":                   {shows: "wrong name", tlsa: "right"},
	"TLSA, none usable":                        {shows: "good", tlsa: "PKIX"},
	"TLSA, none usable, and expired":           {shows: "expired", tlsa: "PKIX"},
	"TLSA, none usable, and STARTTLS stripped": {shows: "none", tlsa: "PKIX"},
	"bogus signatures of TLSA":                 {shows: "good", tlsa: "right", dns: "bogus"},
	"SERVFAIL for TLSA":                        {shows: "good", tlsa: "right", dns: "SERVFAIL"},
	"bogus signatures of the MX":               {shows: "good", dns: "MX"},
	"TLSA mismatch, the zone not signed":       {shows: "good", tlsa: "other", unsigned: true},

	"host not in the policy":                       {shows: "good", policy: "list"},
	"policy host unreachable, cached":              {shows: "good", policy: "dead", cached: true},
	"policy host unreachable, cached, and expired": {shows: "expired", policy: "dead", cached: true},
	"policy host unreachable, not cached":          {shows: "good", policy: "dead"},
	"policy host with a bad certificate":           {shows: "good", policy: "certificate"},
	"policy that cannot be read":                   {shows: "good", policy: "unreadable"},
	"policy replaced since it was cached":          {shows: "good", policy: "replaced", cached: true},
	"downgrade below the remembered level":         {shows: "self-signed", remembered: true},

	"REQUIRETLS, not offered":                 {shows: "good", param: " REQUIRETLS"},
	"REQUIRETLS, offered":                     {shows: "good", offers: true, param: " REQUIRETLS"},
	"REQUIRETLS, offered, and expired":        {shows: "expired", offers: true, param: " REQUIRETLS"},
	"TLS-Required: No beside REQUIRETLS":      {shows: "good", offers: true, param: " REQUIRETLS", field: "TLS-Required: No\r\n"},
	"TLS-Required: No, and STARTTLS stripped": {shows: "none", field: "TLS-Required: No\r\n"},
	"TLS-Required: No, and expired":           {shows: "expired", field: "TLS-Required: No\r\n"},
}

// faults are what a sender, and a proof, is told of what a host shows.
var faults = map[string]string{
	"wrong name":  "the certificate is for another name",
	"expired":     "the certificate is not valid at this time",
	"self-signed": "nobody whom we trust vouches for the certificate",
	"unknown":     "nobody whom we trust vouches for the certificate",
	"refused":     "it was refused: 454 4.7.0",
	"broken":      "the handshake failed",
}

// target is a cell of the table: a domain with one mail host.
type target struct {
	attack
	condition, column string
	want              matrix.Cell

	domain, host string
	ip           string       // of its host, as the DNS says
	id           string       // of our message to it
	peer         *shielded    // in place of a door of Postfix
	resets       atomic.Int32 // by the middlebox
}

// targets makes a domain of each cell.
func targets(t *testing.T) []*target {
	t.Helper()
	table, err := matrix.Read("../docs/transport.md")
	if err != nil {
		t.Fatal(err)
	}
	var list []*target
	unknown := maps.Clone(attacks)
	for r, row := range table.Rows {
		a, known := attacks[row.Condition]
		delete(unknown, row.Condition)
		if !known {
			t.Fatalf("nobody knows how to make %q", row.Condition)
		}
		for i, column := range table.Columns {
			c := &target{attack: a, condition: row.Condition, column: column, want: row.Cells[i]}
			zone := "open.test"
			if c.signed() {
				zone = "signed.test"
			}
			// Short, so that what the queue says of it is not cut.
			c.domain = fmt.Sprintf("r%02d-c%d.%s", r, i, zone)
			c.host, c.ip = "mx."+c.domain, newIP()
			list = append(list, c)
		}
	}
	if len(unknown) > 0 {
		t.Fatalf("the page does not have %v", slices.Collect(maps.Keys(unknown)))
	}
	return list
}

// signed reports whether DNSSEC vouches for what is said of the domain.
func (c *target) signed() bool {
	return !c.unsigned && (c.tlsa != "" || c.dns != "" || strings.HasPrefix(c.column, "DANE"))
}

// records are the TLSA records that are published, if any: right, other or
// PKIX.
func (c *target) records() string {
	if c.tlsa == "" && strings.HasPrefix(c.column, "DANE") {
		return "right"
	}
	return c.tlsa
}

// usage is of the records that are right.
func (c *target) usage() string {
	if c.column == "DANE-TA" {
		return "2"
	}
	return "3"
}

// mode is that of the MTA-STS policy; none if empty.
func (c *target) mode() string {
	switch {
	case c.column == "STS testing":
		return "testing"
	case c.column == "STS enforce", c.policy != "":
		return "enforce"
	}
	return ""
}

// before reports whether there is mail before the attack, and whether it
// arrives then: a policy can be fetched without that anything is reached.
func (c *target) before() (sent, arrives bool) {
	arrives = c.remembered || c.column == "remembered level"
	return arrives || c.cached, arrives
}

// route is the configuration of a route to it, if it has one.
func (c *target) route() string {
	level, ok := strings.CutPrefix(c.column, "route ")
	if !ok {
		return ""
	}
	return fmt.Sprintf("[[route]]\ndomain = %q\nvia = %q\ntls = %q\n", c.domain, c.host, level)
}

// word is in the message to it, and nowhere else.
func (c *target) word() string { return "a word to " + c.domain + " only" }

// send submits a message to each of some targets.
func (s *server) send(list []*target, message func(*target) (param, content string)) {
	s.t.Helper()
	k := s.signIn(s.t, s.address())
	for _, c := range list {
		param, content := message(c)
		c.id = k.mail("<"+s.address()+">"+param, []string{"<bob@" + c.domain + ">"}, content)
	}
	k.say("QUIT", "221")
}

// because is why TLS is required, as the sender is told.
func (c *target) because() string {
	switch policy := c.want.Policy(c.column); policy {
	case "DANE":
		return " (DANE for " + c.host + ")"
	case "MTA-STS (enforce)":
		return " (MTA-STS of " + c.domain + ")"
	case "remembered (verify)":
		return " (" + c.domain + " had TLS with a verified certificate on " + time.Now().UTC().Format("2 January 2006") + ")"
	case "default (verify)":
		return " (the default here)"
	}
	return ""
}

// reason is what the sender is told of a deferral.
func (c *target) reason() string {
	switch c.want.Status {
	case "4.4.3":
		switch c.dns {
		case "MX":
			return "what the DNS says of " + c.domain + " is not what its owner signed (DNSSEC)"
		case "bogus":
			return "what the DNS says of the TLSA records of " + c.host + " is not what its owner signed (DNSSEC)"
		}
		return "the TLSA records of " + c.host + " cannot be looked up at the moment, and without them it must not be used"
	case "4.7.0":
		return c.host + " is not among the mail hosts that " + c.domain + " names in its MTA-STS policy"
	case "4.7.4":
		return "TLS is required" + c.because() + ", but " + c.host + " does not offer it"
	}
	fault := faults[c.shows]
	if slices.Contains(c.want.Reports, "tlsa:validation-failure") && c.shows != "broken" {
		fault = "what it presents matches none of its TLSA records"
	}
	return "TLS is required" + c.because() + ", but with " + c.host + " " + fault
}

// met is how the proof says that it was met.
func (c *target) met() string {
	switch {
	case c.want.Outcome == "clear" && c.shows == "none":
		return "no TLS was offered"
	case c.want.Outcome == "clear":
		return "TLS was offered, and " + faults[c.shows]
	case c.want.Outcome == "verified" && c.records() == "right" && !strings.HasPrefix(c.column, "route"):
		return "the TLSA record " + c.usage() + " 1 1 of " + c.host + " matches"
	case c.want.Outcome == "verified":
		return "the certificate is verified for " + c.host
	case strings.HasPrefix(c.column, "route"):
		return "the certificate was not looked at"
	}
	return "with whoever answered, since " + faults[c.shows]
}

// TestMatrix runs the table of docs/transport.md with real parts: Postfix
// behind a signed zone, a resolver that validates, policy hosts, a tap on the
// wire. Some of the mail goes out while the world is sound, so that there is
// something to remember; then comes the attack. What came of it is read from
// Postfix, the proof, the queue, the bounce, the tap, and the reports that a
// collector gets the day after.
func TestMatrix(t *testing.T) {
	t.Parallel()
	s := install(t, "gate.test", "")
	list := targets(t)
	stage := newStage(t, s, list)
	wire := newTap(t, stage.addresses())

	s.configure(stage.config(stage.before, ""))
	s.serve()
	stage.postfix.ready()
	s.soundWorld(stage)
	s.stop()

	var strict []*target // under the stricter default
	rest := slices.DeleteFunc(slices.Clone(list), func(c *target) bool {
		if c.column == "default verify" {
			strict = append(strict, c)
			return true
		}
		return false
	})
	for _, phase := range []struct {
		name  string
		list  []*target
		floor string
	}{{"cells", rest, ""}, {"cells under a stricter default", strict, "tls = \"verify\"\n"}} {
		s.configure(stage.config(stage.now, phase.floor))
		s.serve()
		s.send(phase.list, func(c *target) (param, content string) { return c.param, c.field + letter(s.address(), c.word()) })
		queue := s.settled(phase.list)
		t.Run(phase.name, func(t *testing.T) {
			for _, c := range phase.list {
				t.Run(c.condition+" beside "+c.column, func(t *testing.T) {
					t.Parallel()
					s.in(t).outcome(stage, c, queue[c.id])
					stage.overheard(t, wire, c)
				})
			}
		})
		s.stop()
	}

	s.yesterday()
	reports := stage.collect(t, s)
	for _, c := range list {
		if got := reports[c.domain].failures(); !slices.Equal(got, c.want.Reports) {
			t.Errorf("%s beside %s: %v is reported, want %v (%s)\n%+v", c.condition, c.column, got, c.want.Reports, c.want.Why, reports[c.domain])
		}
		reports[c.domain].check(t, c)
	}
}

// soundWorld sends the mail of before the attack.
func (s *server) soundWorld(stage *stage) {
	s.t.Helper()
	var sent, arriving []*target
	for _, c := range stage.list {
		if some, arrives := c.before(); some {
			sent = append(sent, c)
			if arrives {
				arriving = append(arriving, c)
			}
		}
	}
	word := func(c *target) string { return "before all of it to " + c.domain }
	s.send(sent, func(c *target) (param, content string) { return "", letter(s.address(), word(c)) })
	stage.postfix.arrive(s.t, arriving, word)
	// Nobody was there to take the others, and their policies are known.
	left := len(sent) - len(arriving)
	await(s.t, func() string {
		waiting := 0
		for _, m := range s.queue() {
			if strings.Contains(m.Recipients[0].Reason, "connection refused") {
				waiting++
			}
		}
		if waiting != left {
			return fmt.Sprintf("%d wait, not %d: %+v", waiting, left, s.queue())
		}
		return ""
	})
	for _, m := range s.queue() {
		s.gatepost("queue", "drop", m.ID)
	}
}

// settled waits until it is known of each message what came of the first
// attempt, and returns those that wait, by their ids.
func (s *server) settled(list []*target) map[string]*queued {
	s.t.Helper()
	var queue map[string]*queued
	await(s.t, func() string {
		queue = map[string]*queued{}
		for _, m := range s.queue() {
			queue[m.ID] = &m
		}
		for _, c := range list {
			if m := queue[c.id]; m != nil && m.Recipients[0].Status != "deferred" {
				return fmt.Sprintf("%s beside %s is still on its way: %+v\n%s", c.condition, c.column, m, s.log)
			}
		}
		return ""
	})
	return queue
}

// outcome checks what came of the message to a target, and if it waits, why.
func (s *server) outcome(stage *stage, c *target, waiting *queued) {
	s.t.Helper()
	if (waiting != nil) != (c.want.Outcome == "wait") {
		s.t.Fatalf("it is to be %s (%s); does it wait? %+v", c.want, c.want.Why, waiting)
	}
	switch c.want.Outcome {
	case "wait":
		r := waiting.Recipients[0]
		said, _, cut := strings.Cut(r.Reason, "... It is tried again")
		if !strings.HasPrefix(said, c.reason()) && !(cut && strings.HasPrefix(c.reason(), said)) {
			s.t.Errorf("%s\nwant %s", r.Reason, c.reason())
		}
		stage.heardNothing(s.t, c)
	case "fails":
		s.bounces(c.id, "bob@"+c.domain, "Status: "+c.want.Status)
		stage.heardNothing(s.t, c)
	default:
		stage.arrives(s.t, c)
		_, out := s.proof(c.id, c.host)
		if out.Policy != c.want.Policy(c.column) || !strings.HasPrefix(out.Met, c.met()) || (out.TLS == "") != (c.want.Outcome == "clear") ||
			out.Verified != (c.want.Outcome == "verified") || !strings.Contains(out.Sentence, out.Met+"; policy: "+out.Policy) {
			s.t.Errorf("the proof is %+v\nwant %s, by %s", out, c.met(), c.want.Policy(c.column))
		}
	}
	if n := c.resets.Load(); c.middlebox && n != 1 {
		s.t.Errorf("%d handshakes were reset", n)
	}
}

// overheard checks what whoever is on the way could read: what goes in the
// clear, and not one word of anything else.
func (st *stage) overheard(t *testing.T, wire *tap, c *target) {
	t.Helper()
	heard := wire.to(t, c.ip)
	if talks := strings.Contains(heard, "EHLO mx.gate.test"); talks != c.spokenTo() {
		t.Errorf("the tap heard a session: %v\n%.500q", talks, heard)
	}
	for _, word := range []string{c.word(), "bob@" + c.domain, "MAIL FROM"} {
		if read := strings.Contains(heard, word); read != (c.want.Outcome == "clear") {
			t.Errorf("%q was read on the way: %v\n%.2000q", word, read, heard)
		}
	}
}

// spokenTo reports whether the host is connected to at all.
func (c *target) spokenTo() bool {
	vouched := strings.HasPrefix(c.column, "route") || strings.HasPrefix(c.column, "DANE") || strings.HasPrefix(c.column, "STS")
	return (vouched || c.want.Status != "5.7.10") && c.want.Status != "4.4.3" && c.want.Status != "4.7.0"
}
