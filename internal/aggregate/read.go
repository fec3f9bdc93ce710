package aggregate

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/encoding/htmlindex"

	"gatepost/internal/message"
	"gatepost/internal/parts"
)

// ReadFile reads a report as it is attached: XML, alone or in gzip or zip.
// What it is its first octets tell, not its name.
func ReadFile(r io.Reader) (*Report, error) { return readFile(r, most) }

// limits are how much is read; tests have lower ones.
type limits struct {
	packed, xml int64
	rows        int
}

var most = limits{MaxPacked, MaxXML, MaxRows}

func readFile(r io.Reader, lim limits) (*Report, error) {
	in := bufio.NewReader(&parts.Limited{R: r, Left: lim.packed})
	head, _ := in.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if errors.Is(err, parts.ErrTooLarge) {
			return nil, ErrTooLarge
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		z.Multistream(false)
		return read(z, lim)
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return readZip(in, lim)
	}
	return read(in, lim)
}

// readZip reads the first file of an archive that looks like a report.
func readZip(r io.Reader, lim limits) (*Report, error) {
	packed, err := io.ReadAll(r)
	if errors.Is(err, parts.ErrTooLarge) {
		return nil, ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	for _, f := range z.File[:min(len(z.File), maxFiles)] {
		if !strings.HasSuffix(strings.ToLower(f.Name), ".xml") {
			continue
		}
		in, err := f.Open()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		defer in.Close()
		return read(in, lim)
	}
	return nil, ErrNoReport
}

// tagGuard fails on a tag that is longer than any report needs: the decoder
// keeps all attributes of one, each many times as large as it is written.
type tagGuard struct {
	r      io.Reader
	length int  // of the tag so far; 0 outside one
	quote  byte // that is open within it
	markup bool // a comment or the like, in which quotes mean nothing
}

const maxTag = 16 << 10

func (g *tagGuard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	for _, c := range p[:n] {
		if g.length == 0 {
			if c == '<' {
				*g = tagGuard{r: g.r, length: 1}
			}
			continue
		}
		g.length++
		switch {
		case g.length == 2 && (c == '!' || c == '?'):
			g.markup = true
		case c == g.quote:
			g.quote = 0
		case g.quote != 0 || g.markup && c != '>':
		case c == '"' || c == '\'':
			g.quote = c
		case c == '>':
			g.length = 0
		}
		if g.length > maxTag && !g.markup {
			return 0, ErrTooLarge
		}
	}
	return n, err
}

// Read reads the XML of a report.
func Read(r io.Reader) (*Report, error) { return read(r, most) }

func read(r io.Reader, lim limits) (*Report, error) {
	d := xml.NewDecoder(&tagGuard{r: &parts.Limited{R: r, Left: lim.xml}})
	d.CharsetReader = charset
	p := &parser{d: d, rows: lim.rows, report: &Report{}}
	err := p.document()
	switch {
	case errors.Is(err, parts.ErrTooLarge):
		return nil, ErrTooLarge
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrDoctype), errors.Is(err, ErrNoReport), errors.Is(err, ErrSyntax):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	return p.report, p.check()
}

func charset(label string, in io.Reader) (io.Reader, error) {
	e, err := htmlindex.Get(label)
	if err != nil {
		return nil, err
	}
	return e.NewDecoder().Reader(in), nil
}

// parser walks through the elements in the order in which they come.
type parser struct {
	d      *xml.Decoder
	depth  int
	rows   int // at most
	report *Report
}

// check refuses reports that say nothing: everything else may be missing.
func (p *parser) check() error {
	if p.report.Policy.Domain == "" || len(p.report.Rows) == 0 {
		return fmt.Errorf("%w: it names no domain or has no records", ErrSyntax)
	}
	return nil
}

// document finds the root, which has the namespace of RFC 9990 or none.
func (p *parser) document() error {
	for {
		start, err := p.next()
		if err == io.EOF {
			return ErrNoReport
		}
		if err != nil {
			return err
		}
		if start == nil {
			continue
		}
		if start.Name.Local != "feedback" {
			return ErrNoReport
		}
		return p.children(p.feedback)
	}
}

// next returns the next element that begins, nil where one ends.
func (p *parser) next() (*xml.StartElement, error) {
	for {
		tok, err := p.d.Token()
		if err != nil {
			return nil, err
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return nil, ErrDoctype
		case xml.StartElement:
			if p.depth++; p.depth > maxDepth {
				return nil, ErrTooLarge
			}
			return &tok, nil
		case xml.EndElement:
			p.depth--
			return nil, nil
		}
	}
}

// children calls read for each element within the current one, by name; what
// read does not take is passed over.
func (p *parser) children(read func(name string) error) error {
	for {
		start, err := p.next()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil || start == nil {
			return err
		}
		depth := p.depth
		if err := read(start.Name.Local); err != nil {
			return err
		}
		if err := p.leave(depth); err != nil {
			return err
		}
	}
}

// leave passes over what is left of the element at a depth.
func (p *parser) leave(depth int) error {
	for p.depth >= depth {
		if _, err := p.next(); err != nil {
			return err
		}
	}
	return nil
}

// text returns the text of the current element, cut to what is sensible.
func (p *parser) text() (string, error) {
	var b strings.Builder
	for {
		tok, err := p.d.Token()
		if err != nil {
			return "", err
		}
		switch tok := tok.(type) {
		case xml.Directive:
			return "", ErrDoctype
		case xml.CharData:
			b.Write(tok[:min(len(tok), maxText-b.Len())])
		case xml.StartElement:
			if p.depth++; p.depth > maxDepth {
				return "", ErrTooLarge
			}
			if err := p.leave(p.depth); err != nil {
				return "", err
			}
		case xml.EndElement:
			p.depth--
			return message.Printable(strings.TrimSpace(b.String())), nil
		}
	}
}

// texts reads the elements that are in a table as texts.
func (p *parser) texts(into map[string]*string) error {
	return p.children(func(name string) (err error) {
		if to := into[name]; to != nil {
			*to, err = p.text()
		}
		return err
	})
}

func (p *parser) feedback(name string) error {
	switch name {
	case "report_metadata":
		return p.children(p.metadata)
	case "policy_published":
		return p.policy()
	case "record":
		if len(p.report.Rows) == p.rows {
			return ErrTooLarge
		}
		var row Row
		if err := p.record(&row); err != nil {
			return err
		}
		p.report.Rows = append(p.report.Rows, row)
	}
	return nil
}

func (p *parser) metadata(name string) (err error) {
	r := p.report
	switch name {
	case "org_name":
		r.Organization, err = p.text()
	case "email":
		r.Email, err = p.text()
	case "extra_contact_info":
		r.Contact, err = p.text()
	case "report_id":
		r.ID, err = p.text()
	case "generator":
		r.Generator, err = p.text()
	case "error":
		var text string
		if text, err = p.text(); len(r.Errors) < maxResults {
			r.Errors = append(r.Errors, text)
		}
	case "date_range":
		var begin, end string
		err = p.texts(map[string]*string{"begin": &begin, "end": &end})
		r.Begin, r.End = seconds(begin), seconds(end)
	}
	return err
}

// seconds reads a time; one that makes no sense is zero.
func seconds(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 || n > 1<<40 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func (p *parser) policy() error {
	pub := &p.report.Policy
	var testing string
	err := p.texts(map[string]*string{
		"domain": &pub.Domain, "p": &pub.Policy, "sp": &pub.Subdomains, "np": &pub.NonExistent, "adkim": &pub.DKIM, "aspf": &pub.SPF,
		"fo": &pub.FailureCases, "testing": &testing, "discovery_method": &pub.Discovery,
	})
	pub.Testing = testing == "y"
	return err
}

func (p *parser) record(row *Row) error {
	return p.children(func(name string) error {
		switch name {
		case "row":
			return p.row(row)
		case "identifiers":
			return p.texts(map[string]*string{"header_from": &row.From, "envelope_from": &row.EnvelopeFrom, "envelope_to": &row.EnvelopeTo})
		case "auth_results":
			return p.children(func(name string) error { return p.result(name, row) })
		}
		return nil
	})
}

func (p *parser) row(row *Row) error {
	err := p.children(func(name string) error {
		switch name {
		case "source_ip":
			text, err := p.text()
			if err != nil {
				return err
			}
			ip, err := netip.ParseAddr(text)
			if err != nil || ip.Zone() != "" {
				return fmt.Errorf("%w: %.60q is no address", ErrSyntax, text)
			}
			row.IP = ip.Unmap()
		case "count":
			text, err := p.text()
			if err != nil {
				return err
			}
			if row.Count, err = strconv.ParseInt(text, 10, 64); err != nil || row.Count < 0 {
				return fmt.Errorf("%w: %.60q messages", ErrSyntax, text)
			}
		case "policy_evaluated":
			return p.evaluated(row)
		}
		return nil
	})
	if err == nil && !row.IP.IsValid() {
		err = fmt.Errorf("%w: a record without an address", ErrSyntax)
	}
	return err
}

func (p *parser) evaluated(row *Row) error {
	return p.children(func(name string) (err error) {
		var text string
		switch name {
		case "disposition":
			row.Disposition, err = p.text()
		case "dkim":
			text, err = p.text()
			row.DKIM = text == "pass"
		case "spf":
			text, err = p.text()
			row.SPF = text == "pass"
		case "reason":
			var o Override
			err = p.texts(map[string]*string{"type": &o.Type, "comment": &o.Comment})
			if len(row.Overrides) < maxResults {
				row.Overrides = append(row.Overrides, o)
			}
		}
		return err
	})
}

func (p *parser) result(name string, row *Row) error {
	switch name {
	case "dkim":
		var s Signature
		err := p.texts(map[string]*string{"domain": &s.Domain, "selector": &s.Selector, "result": &s.Result, "human_result": &s.Note})
		if len(row.Signatures) < maxResults {
			row.Signatures = append(row.Signatures, s)
		}
		return err
	case "spf":
		var s Sender
		err := p.texts(map[string]*string{"domain": &s.Domain, "scope": &s.Scope, "result": &s.Result, "human_result": &s.Note})
		if len(row.Senders) < maxResults {
			row.Senders = append(row.Senders, s)
		}
		return err
	}
	return nil
}
