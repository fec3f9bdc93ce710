package aggregate

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"gatepost/internal/message"
)

// namespace is that of RFC 9990, section 7.1.
const namespace = "urn:ietf:params:xml:ns:dmarc-2.0"

// Write writes a report as XML, its elements in the order of RFC 9990,
// section 3.1.1.
func Write(w io.Writer, r *Report) error {
	x := &writer{out: bufio.NewWriter(w)}
	x.out.WriteString(xml.Header)
	x.out.WriteString(`<feedback xmlns="` + namespace + `">` + "\n")
	x.depth++
	x.text("version", "1.0")
	x.within("report_metadata", func() { x.metadata(r) })
	x.within("policy_published", func() { x.policy(&r.Policy) })
	for i := range r.Rows {
		x.within("record", func() { x.record(&r.Rows[i]) })
	}
	x.out.WriteString("</feedback>\n")
	return x.out.Flush()
}

// writer writes elements; errors stay in the bufio.Writer.
type writer struct {
	out   *bufio.Writer
	depth int
}

func (x *writer) indent() { x.out.WriteString(strings.Repeat("  ", x.depth)) }

// text writes an element that holds text.
func (x *writer) text(name, text string) {
	x.indent()
	x.out.WriteString("<" + name + ">")
	xml.EscapeText(x.out, []byte(message.Printable(text)))
	x.out.WriteString("</" + name + ">\n")
}

// optional writes an element unless it is empty.
func (x *writer) optional(name, text string) {
	if text != "" {
		x.text(name, text)
	}
}

func (x *writer) within(name string, content func()) {
	x.indent()
	x.out.WriteString("<" + name + ">\n")
	x.depth++
	content()
	x.depth--
	x.indent()
	x.out.WriteString("</" + name + ">\n")
}

func (x *writer) metadata(r *Report) {
	x.text("org_name", r.Organization)
	x.text("email", r.Email)
	x.optional("extra_contact_info", r.Contact)
	x.text("report_id", r.ID)
	x.within("date_range", func() {
		x.text("begin", unix(r.Begin))
		x.text("end", unix(r.End))
	})
	for _, e := range r.Errors {
		x.text("error", e)
	}
	x.optional("generator", r.Generator)
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func (x *writer) policy(p *Published) {
	x.text("domain", p.Domain)
	x.optional("discovery_method", p.Discovery)
	x.text("p", p.Policy)
	x.optional("sp", p.Subdomains)
	x.optional("np", p.NonExistent)
	x.optional("fo", p.FailureCases)
	x.optional("adkim", p.DKIM)
	x.optional("aspf", p.SPF)
	x.text("testing", map[bool]string{true: "y", false: "n"}[p.Testing])
}

func (x *writer) record(row *Row) {
	x.within("row", func() {
		x.text("source_ip", row.IP.String())
		x.text("count", strconv.FormatInt(row.Count, 10))
		x.within("policy_evaluated", func() {
			x.text("disposition", row.Disposition)
			x.text("dkim", passFail(row.DKIM))
			x.text("spf", passFail(row.SPF))
			for _, o := range row.Overrides {
				x.within("reason", func() {
					x.text("type", o.Type)
					x.optional("comment", o.Comment)
				})
			}
		})
	})
	x.within("identifiers", func() {
		x.text("header_from", row.From)
		x.text("envelope_from", row.EnvelopeFrom) // empty for a null reverse-path
		x.optional("envelope_to", row.EnvelopeTo)
	})
	x.within("auth_results", func() { x.results(row) })
}

func (x *writer) results(row *Row) {
	for _, s := range row.Signatures[:min(len(row.Signatures), maxResults)] {
		x.within("dkim", func() {
			x.text("domain", s.Domain)
			x.text("selector", s.Selector)
			x.text("result", s.Result)
			x.optional("human_result", s.Note)
		})
	}
	for _, s := range row.Senders[:min(len(row.Senders), 1)] { // RFC 9990: one at most
		x.within("spf", func() {
			x.text("domain", s.Domain)
			x.optional("scope", s.Scope)
			x.text("result", s.Result)
			x.optional("human_result", s.Note)
		})
	}
}

func passFail(ok bool) string {
	if ok {
		return "pass"
	}
	return "fail"
}

// Filename returns the name that a report has as an attachment: RFC 9990,
// section 3.4.2.
func (r *Report) Filename(submitter string) string {
	return fmt.Sprintf("%s!%s!%d!%d.xml.gz", submitter, r.Policy.Domain, r.Begin.Unix(), r.End.Unix())
}
