package test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// aggregateReport returns a message with a report on a domain's mail of
// yesterday.
func aggregateReport(t *testing.T, domain string) string {
	t.Helper()
	end := time.Now().Add(-time.Hour)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprintf(z, `<?xml version="1.0"?><feedback><report_metadata><org_name>Good</org_name><email>x@good.test</email><report_id>7</report_id>
<date_range><begin>%d</begin><end>%d</end></date_range></report_metadata><policy_published><domain>%s</domain><p>none</p></policy_published>
<record><row><source_ip>192.0.2.7</source_ip><count>3</count><policy_evaluated><disposition>none</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
<identifiers><header_from>%[3]s</header_from></identifiers><auth_results><spf><domain>x.test</domain><result>fail</result></spf></auth_results></record></feedback>`,
		end.Add(-24*time.Hour).Unix(), end.Unix(), domain)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return "From: <reports@good.test>\r\nSubject: Report Domain: " + domain + "\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(b.Bytes()) + "\r\n"
}

// A report that comes by mail is counted once, shows up in what gatepost
// reports dmarc tells, with and without the server, and is in nobody's
// mailbox.
func TestReports(t *testing.T) {
	t.Parallel()
	s := start(t, "reports.test", newNames(t, records).config())
	for range 2 {
		reply, err := s.world(t).transact("<reports@good.test>", []string{"<dmarc-reports@" + s.domain + ">"}, aggregateReport(t, s.domain))
		if err != nil || !strings.HasPrefix(reply, "250") {
			t.Fatal(reply, err)
		}
	}
	s.settles()
	var got []struct {
		Domain   string `json:"domain"`
		Messages int64  `json:"messages"`
		Failed   int64  `json:"failed"`
		Reports  int64  `json:"reports"`
		Unproved int64  `json:"unproved"`
		Sources  []struct {
			Source string `json:"source"`
			Failed int64  `json:"failed"`
		} `json:"sources"`
	}
	for _, running := range []bool{true, false} {
		if !running {
			s.kill()
		}
		s.json(&got, "reports", "dmarc", s.domain)
		if len(got) != 1 || got[0].Domain != s.domain || got[0].Messages != 3 || got[0].Failed != 3 || got[0].Reports != 1 || got[0].Unproved != 0 ||
			len(got[0].Sources) != 1 || got[0].Sources[0].Source != "192.0.2.7" {
			t.Fatalf("running %v: %+v\n%s", running, got, s.log)
		}
	}
	if text := s.gatepost("reports", "dmarc"); !strings.Contains(text, s.domain) || !strings.Contains(text, "192.0.2.7") {
		t.Error(text)
	}
	if list := s.inbox(s.address()); len(list) > 0 {
		t.Errorf("%+v", list)
	}
}
