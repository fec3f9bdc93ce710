package tlsrpt

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Report is what one sender tells of one day: RFC 8460, section 4. Its field
// names in JSON are the RFC's.
type Report struct {
	Organization string    `json:"organization-name"`
	Range        Range     `json:"date-range"`
	Contact      string    `json:"contact-info"`
	ID           string    `json:"report-id"`
	Policies     []Outcome `json:"policies"`
}

// Range is the time that a report is of.
type Range struct {
	Start time.Time `json:"start-datetime"`
	End   time.Time `json:"end-datetime"`
}

// Outcome is what came of the sessions under one policy.
type Outcome struct {
	Policy   Policy    `json:"policy"`
	Summary  Summary   `json:"summary"`
	Failures []Failure `json:"failure-details,omitempty"`
}

// Summary counts sessions.
type Summary struct {
	Success int64 `json:"total-successful-session-count"`
	Failure int64 `json:"total-failure-session-count"`
}

// Policy is what a domain promised: RFC 8460, section 4.4.
type Policy struct {
	Kind   Kind     `json:"policy-type"`
	Text   []string `json:"policy-string,omitempty"` // TLSA records, or the lines of an MTA-STS policy
	Domain string   `json:"policy-domain"`
	MX     []string `json:"mx-host,omitempty"` // of MTA-STS: which hosts it names
}

// Kind is the kind of a policy.
type Kind string

// The kinds of RFC 8460, section 4.4.
const (
	TLSA     Kind = "tlsa"
	STS      Kind = "sts"
	NoPolicy Kind = "no-policy-found"
)

// Failure is what went wrong in some sessions, and between whom. In a report
// that was read any text may be missing.
type Failure struct {
	Result        Result `json:"result-type"`
	SendingIP     string `json:"sending-mta-ip,omitempty"`
	ReceivingMX   string `json:"receiving-mx-hostname,omitempty"`
	ReceivingHelo string `json:"receiving-mx-helo,omitempty"`
	ReceivingIP   string `json:"receiving-ip,omitempty"`
	Count         int64  `json:"failed-session-count"`
	Information   string `json:"additional-information,omitempty"` // a URI
	Reason        string `json:"failure-reason-code,omitempty"`
}

// Result is the type of a failure; others than these may be registered.
type Result string

// The results of RFC 8460, section 4.3.
const (
	NoSTARTTLS        Result = "starttls-not-supported"
	HostMismatch      Result = "certificate-host-mismatch"
	Expired           Result = "certificate-expired"
	NotTrusted        Result = "certificate-not-trusted"
	ValidationFailure Result = "validation-failure"
	TLSAInvalid       Result = "tlsa-invalid"
	DNSSECInvalid     Result = "dnssec-invalid"
	STSFetchError     Result = "sts-policy-fetch-error"
	STSInvalid        Result = "sts-policy-invalid"
	STSWebPKIInvalid  Result = "sts-webpki-invalid"
)

// Bounds of a report that is read.
const (
	MaxReport   = 4 << 20 // octets of JSON
	maxResults  = 1000    // policies
	maxFailures = 10_000  // failures of a policy
	maxTexts    = 1000    // texts of a policy
)

// ErrReport says that something is not a report.
var ErrReport = errors.New("not a valid TLS report")

// Read reads a report, compressed with gzip or not: RFC 8460, section 5.2.
func Read(r io.Reader) (*Report, error) {
	plain, err := decompress(bufio.NewReader(r))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	text, err := io.ReadAll(io.LimitReader(plain, MaxReport+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if len(text) > MaxReport { // also what a bomb unpacks to
		return nil, fmt.Errorf("%w: more than %d octets", ErrReport, MaxReport)
	}
	report := &Report{}
	if err := json.Unmarshal(text, report); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if err := report.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	return report, nil
}

// decompress looks at what comes first: what a report is called, or said to
// be, does not tell reliably.
func decompress(r *bufio.Reader) (io.Reader, error) {
	magic, err := r.Peek(2)
	if err != nil || !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return r, nil // too short is not JSON either
	}
	return gzip.NewReader(r)
}

// check refuses what would make sums that mean nothing.
func (r *Report) check() error {
	if r.Organization == "" && r.Contact == "" {
		return errors.New("it does not say whom it is from")
	}
	if r.Range.Start.IsZero() || r.Range.End.Before(r.Range.Start) {
		return errors.New("it does not say what time it is of")
	}
	for _, p := range r.Policies {
		if p.Policy.Domain == "" || p.Policy.Kind == "" {
			return errors.New("it has a policy of no domain or kind")
		}
		if p.Summary.Success < 0 || p.Summary.Failure < 0 {
			return errors.New("it counts fewer than no sessions")
		}
		for _, f := range p.Failures {
			if f.Count < 0 || f.Result == "" {
				return errors.New("it has a failure of nothing")
			}
		}
	}
	return nil
}

// Write writes the report as JSON compressed with gzip: RFC 8460, section 5.2
// (application/tlsrpt+gzip).
func (r *Report) Write(w io.Writer) error {
	z := gzip.NewWriter(w)
	e := json.NewEncoder(z)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return err
	}
	return z.Close()
}

// UnmarshalJSON reads a report with bounds on its lists.
func (r *Report) UnmarshalJSON(b []byte) error {
	type plain Report
	w := struct {
		*plain
		Policies list[Outcome] `json:"policies"`
	}{plain: (*plain)(r)}
	err := json.Unmarshal(b, &w)
	r.Policies = w.Policies
	return err
}

// UnmarshalJSON reads an outcome with bounds on its lists.
func (o *Outcome) UnmarshalJSON(b []byte) error {
	type plain Outcome
	w := struct {
		*plain
		Failures list[Failure] `json:"failure-details"`
	}{plain: (*plain)(o)}
	err := json.Unmarshal(b, &w)
	o.Failures = w.Failures
	return err
}

// UnmarshalJSON reads a policy with bounds on its lists.
func (p *Policy) UnmarshalJSON(b []byte) error {
	type plain Policy
	w := struct {
		*plain
		Text texts `json:"policy-string"`
		MX   texts `json:"mx-host"`
	}{plain: (*plain)(p)}
	err := json.Unmarshal(b, &w)
	p.Text, p.MX = w.Text, w.MX
	return err
}

// list is a list of bounded length: a few octets of each element become a
// few hundred in memory.
type list[T bounded] []T

type bounded interface{ most() int }

func (Outcome) most() int { return maxResults }
func (Failure) most() int { return maxFailures }
func (text) most() int    { return maxTexts }

// UnmarshalJSON reads the elements one by one.
func (l *list[T]) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if start, err := d.Token(); err != nil || start != json.Delim('[') {
		return errors.New("a list is expected")
	}
	for d.More() {
		var element T
		if len(*l) == element.most() {
			return fmt.Errorf("a list has more than %d elements", element.most())
		}
		if err := d.Decode(&element); err != nil {
			return err
		}
		*l = append(*l, element)
	}
	return nil
}

// texts are several, of which many senders, and the example in RFC 8460,
// appendix B, write a single one without a list.
type texts []string

type text string

// UnmarshalJSON reads a list or a single text.
func (t *texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		if one != "" {
			*t = texts{one}
		}
		return nil
	}
	var several list[text]
	err := json.Unmarshal(b, &several)
	for _, s := range several {
		*t = append(*t, string(s))
	}
	return err
}
