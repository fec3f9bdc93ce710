package arf

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

const fields = "Feedback-Type: auth-failure\r\nUser-Agent: Checker/1.0\r\nVersion: 1\r\n" +
	"Auth-Failure: dmarc\r\nSource-IP: 192.0.2.7\r\nReported-Domain: Example.ORG\r\nDelivery-Result: reject\r\nIncidents: 3\r\n"

// letter returns a message that brings a report.
func letter(report string) string {
	return "From: <reports@peer.example>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\nA message failed.\r\n" +
		"--b\r\nContent-Type: message/feedback-report\r\n\r\n" + report +
		"\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n\r\n--b--\r\n"
}

func TestReadMessage(t *testing.T) {
	t.Parallel()
	want := Report{Domain: "example.org", Failure: "dmarc", Source: netip.MustParseAddr("192.0.2.7"), Agent: "Checker/1.0", Delivery: "reject", Count: 3}
	for _, text := range []string{letter(fields), letter(strings.ReplaceAll(fields, "\r\n", "\n"))} {
		r, err := ReadMessage(strings.NewReader(text))
		if err != nil || *r != want {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"moo":                             ErrNoReport,
		"Subject: x\r\n\r\nFeedback-Type": ErrNoReport,
		letter(""):                        ErrReport,
		letter("Feedback-Type: abuse\r\nReported-Domain: example.org\r\n"):             ErrReport,
		letter("Feedback-Type: auth-failure\r\n"):                                      ErrReport,
		letter("Feedback-Type: auth-failure\r\nReported-Domain: a b\r\n"):              ErrReport,
		letter(fields + "X: " + strings.Repeat("x", maxFields)):                        ErrReport,
		letter(strings.Replace(fields, "auth-failure", strings.Repeat("y", 1<<10), 1)): ErrReport,
	} {
		if r, err := ReadMessage(strings.NewReader(text)); !errors.Is(err, want) || len(fmt.Sprint(err)) > 400 {
			t.Errorf("%.80q: %+v, %v; want %v", text, r, err, want)
		}
	}
	for field, want := range map[string]int64{"Incidents: 0": 1, "Incidents: -4": 1, "Incidents: x": 1, "Incidents: 99999999999": maxCount} {
		if r, err := Read(strings.NewReader(strings.Replace(fields, "Incidents: 3", field, 1))); err != nil || r.Count != want {
			t.Errorf("%s: %+v, %v", field, r, err)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add(letter(fields))
	f.Add("moo\r\r\n\r\n") // an error repeated this line
	f.Add(letter("Feedback-Type: auth-failure\r\nReported-Domain: x.example\r\n"))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ReadMessage(strings.NewReader(text))
		switch {
		case err == nil && (r.Domain == "" || r.Count < 1 || len(r.Failure)+len(r.Agent)+len(r.Delivery) > 3*maxText):
			t.Errorf("%+v", r)
		case err != nil && strings.ContainsAny(err.Error(), "\r\n"):
			t.Errorf("%q", err)
		}
	})
}
