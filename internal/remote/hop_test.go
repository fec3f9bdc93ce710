package remote

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// TestHop: what a message asks of a hop, what the hop offers, and what comes
// of it.
func TestHop(t *testing.T) {
	t.Parallel()
	const (
		eight   = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n.gr\xc3\xbc\xc3\x9fe\r\n"
		signed  = "MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b; micalg=x; protocol=y\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n--b\r\nContent-Type: y\r\n\r\nx\r\n--b--\r\n"
		mixed   = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n.dot\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n--b--\r\n"
		relayed = "relayed by host.example: 250 2.0.0 queued"
	)
	ask := func(form envelope.Form, change ...func(*envelope.Envelope)) func(*envelope.Envelope) {
		return func(e *envelope.Envelope) {
			e.Form = form
			for _, f := range change {
				f(e)
			}
		}
	}
	utf8 := func(e *envelope.Envelope) { e.UTF8 = true }
	dsn := func(e *envelope.Envelope) {
		e.Ret, e.EnvID = envelope.RetHdrs, "id+3D1"
		e.Recipients[0].Notify, e.Recipients[0].ORcpt = envelope.NotifySuccess|envelope.NotifyDelay, "rfc822;c@c.example"
	}
	bigOffer := "SIZE_100 8BITMIME"
	cases := []struct {
		name, offers, body, to string
		change                 func(*envelope.Envelope)
		want                   string
		mail, rcpt             string // parameters
		has, hasNot            string // in what arrived
	}{
		{"nothing asked", "", body, "b@d.example", ask(0), relayed, "", "", "text", ""},
		{"SIZE", "SIZE_75", body, "b@d.example", ask(0), relayed, " SIZE=45", "", "text", ""},
		{"too large", "SIZE_44", body, "b@d.example", ask(0), "failed by host.example: 552 5.3.4 the message has 45 octets, and host.example takes no more than 44", "", "", "", ""},
		{"too large once converted", "SIZE_140", eight, "b@d.example", ask(envelope.EightBit | envelope.LeadingDot), "failed by host.example: 552 5.3.4 the message has 152 octets, and host.example takes no more than 140", "", "", "", ""},
		{"8BITMIME", "8BITMIME", eight, "b@d.example", ask(envelope.EightBit | envelope.LeadingDot), relayed, " BODY=8BITMIME", "", "\r\n.gr\xc3\xbc", "quoted-printable"},
		{"no 8BITMIME", "", eight, "b@d.example", ask(envelope.EightBit | envelope.LeadingDot), relayed, "", "", "gr=C3=BC=C3=9Fe", "\xc3"},
		{"no 8BITMIME, but CHUNKING", "CHUNKING SIZE", eight, "b@d.example", ask(envelope.EightBit | envelope.LeadingDot), relayed, " SIZE=152", "", "gr=C3=BC=C3=9Fe", "\xc3"},
		{"no 8BITMIME, a part with a dot", "", mixed, "b@d.example", ask(envelope.EightBit | envelope.LeadingDot), relayed, "", "", "\r\n.dot\r\n", "\xc3"},
		{"not convertible", "", signed, "b@d.example", ask(envelope.EightBit), "failed by host.example: 554 5.6.3 host.example takes no 8-bit content, and the message cannot be converted", "", "", "", ""},
		{"8-bit header", "8BITMIME", "Subject: \xc3\xbc\r\n\r\nx\r\n", "b@d.example", ask(envelope.HeaderUTF8), relayed, " BODY=8BITMIME", "", "\xc3\xbc", ""},
		{"8-bit header, no 8BITMIME", "", "Subject: \xc3\xbc\r\n\r\nx\r\n", "b@d.example", ask(envelope.HeaderUTF8), "failed by host.example: 554 5.6.3 host.example takes no 8-bit content, and the message cannot be converted", "", "", "", ""},

		{"SMTPUTF8 needed by the header", "8BITMIME SMTPUTF8", "Subject: \xc3\xbc\r\n\r\nx\r\n", "b@d.example", ask(envelope.HeaderUTF8, utf8), relayed, " BODY=8BITMIME SMTPUTF8", "", "\xc3\xbc", ""},
		{"and not offered", "8BITMIME", "Subject: \xc3\xbc\r\n\r\nx\r\n", "b@d.example", ask(envelope.HeaderUTF8, utf8), "failed by host.example: 553 5.6.7 host.example takes only addresses and headers in ASCII (no SMTPUTF8)", "", "", "", ""},
		{"needed by the recipient", "8BITMIME SMTPUTF8", body, "ü@d.example", ask(0, utf8), relayed, " SMTPUTF8", "", "text", ""},
		{"and not offered", "8BITMIME", body, "ü@d.example", ask(0, utf8), "failed by host.example: 553 5.6.7 host.example takes only addresses and headers in ASCII (no SMTPUTF8)", "", "", "", ""},
		{"asked for, not needed, offered", "SMTPUTF8", body, "b@ü.example", ask(0, utf8), relayed, "", "", "text", ""},
		{"asked for, not needed, not offered", "", body, "b@ü.example", ask(0, utf8), relayed, "", "", "text", ""},

		{"DSN", "DSN", body, "b@d.example", ask(0, dsn), "delivered by host.example: 250 2.0.0 queued", " RET=HDRS ENVID=id+3D1", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@c.example", "text", ""},
		{"no DSN", "", body, "b@d.example", ask(0, dsn), relayed, "", "", "text", ""},
		{"NEVER", "DSN", body, "b@d.example", ask(0, func(e *envelope.Envelope) {
			e.Ret, e.Recipients[0].Notify = envelope.RetFull, envelope.NotifyNever
		}), "delivered by host.example: 250 2.0.0 queued", " RET=FULL", " NOTIFY=NEVER", "text", ""},
		{"null sender", bigOffer, body, "b@d.example", ask(0, func(e *envelope.Envelope) { e.From = addr.Address{} }), relayed, " SIZE=45", "", "text", ""},
		{"long line", "", "A: b\r\n\r\n" + strings.Repeat("x", 5000) + "\r\n", "b@d.example", ask(envelope.LongLine), relayed, "", "", strings.Repeat("x", 5000), ""},
		{"no header of ours, 8 bits", "8BITMIME", eight, "b@d.example", ask(envelope.EightBit|envelope.LeadingDot, func(e *envelope.Envelope) { e.Header = nil }), relayed, " BODY=8BITMIME", "", "MIME", "Received"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "d.example. MX 10 host.example.\nxn--tda.example. MX 10 host.example.\nhost.example. A 192.0.2.1")
			h := w.host("192.0.2.1", &server{offers: tc.offers})
			destination := string(addr.MustParse(tc.to).Domain)
			for _, file := range []bool{false, true} {
				a := attempt(destination, tc.body, tc.to)
				if file {
					a.Body = envelope.FileBody(strings.NewReader("xx"+tc.body+"yy"), 2, int64(len(tc.body)), nil)
				}
				tc.change(a.Envelope)
				if got := show(w.sender().Deliver(t.Context(), a)[0]); got != tc.want {
					t.Fatalf("%s\nwant %s", got, tc.want)
				}
				if !strings.HasPrefix(tc.want, "failed") {
					from := a.Envelope.From.String()
					mails, rcpts := h.heard("MAIL"), h.heard("RCPT")
					_, mail, _ := strings.Cut(mails[len(mails)-1], " ")
					_, rcpt, _ := strings.Cut(rcpts[len(rcpts)-1], " ")
					if d := cmp.Diff([]string{"MAIL FROM:<" + from + ">" + tc.mail, "RCPT TO:<" + a.Envelope.Recipients[0].To.String() + ">" + tc.rcpt}, []string{mail, rcpt}); d != "" {
						t.Error(d)
					}
				} else if len(h.heard("MAIL")) > 0 {
					t.Error("it was sent all the same")
				}
				if tc.has == "" {
					continue
				}
				got := h.got()[len(h.got())-1]
				if !strings.Contains(got, tc.has) || tc.hasNot != "" && strings.Contains(got, tc.hasNot) {
					t.Errorf("arrived: %q", got)
				}
			}
		})
	}
}

// TestSomeNeedUTF8: those who can be reached are.
func TestSomeNeedUTF8(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "d.example. MX 10 host.example.\nhost.example. A 192.0.2.1")
	h := w.host("192.0.2.1", &server{})
	got := w.sender().Deliver(t.Context(), attempt("d.example", body, "ü@d.example", "b@d.example", "ö@d.example"))
	if got[0].Status != envelope.Failed || got[1].Status != envelope.Relayed || got[2].Status != envelope.Failed {
		t.Error(got)
	}
	if d := cmp.Diff([]string{"1 RCPT TO:<b@d.example>"}, h.heard("RCPT")); d != "" {
		t.Error(d)
	}
}

// TestUnreadable: a body that cannot be read is our fault, and half of it is
// no message.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for _, offers := range []string{"PIPELINING", "CHUNKING PIPELINING", ""} {
		for _, form := range []envelope.Form{0, envelope.LeadingDot, envelope.EightBit} {
			w := newWorld(t, "d.example. MX 10 host.example.\nhost.example. A 192.0.2.1")
			h := w.host("192.0.2.1", &server{offers: offers})
			a := attempt("d.example", "", "b@d.example", "c@d.example")
			a.Body = envelope.FileBody(failing{}, 0, 200_000, nil)
			a.Envelope.Form = form
			for _, o := range w.sender().Deliver(t.Context(), a) {
				if got := show(o); got != "deferred: 451 4.3.0 the message cannot be read at the moment" {
					t.Errorf("%q, %d: %s", offers, form, got)
				}
			}
			if len(h.got()) > 0 {
				t.Errorf("%q, %d: half a message arrived", offers, form)
			}
		}
	}
}

// failing is a file whose disk breaks after a while.
type failing struct{}

func (failing) ReadAt(p []byte, off int64) (int, error) {
	if off > 100_000 {
		return 0, errors.New("I/O error")
	}
	for i := range p {
		p[i] = "some text\r\n"[(off+int64(i))%11]
	}
	return len(p), nil
}
