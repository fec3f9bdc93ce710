// Package arf reads failure reports: what a server tells, in the Abuse
// Reporting Format, of one message that failed to prove whose it is.
//
// # Place in the path
//
// A standard: pure, with no disk. reputation reads with it what comes to the
// address for DMARC reports.
//
// # Standards
//
// RFC 5965 (the format), RFC 6591 (auth-failure), RFC 9991 (of DMARC).
//
// # What it trusts, and its limits
//
// Nothing: anybody may send a report, with any content. maxMessage bounds the
// message, maxFields its report; the message that it is about is not looked
// at. Texts are cut at maxText and free of control characters.
package arf

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"gatepost/internal/addr"
	"gatepost/internal/message"
	"gatepost/internal/parts"
)

// Bounds of a report.
const (
	maxMessage = 32 << 20 // octets: it may bring the whole message that failed
	maxFields  = 64 << 10 // octets of the report itself
	maxText    = 255
	maxCount   = 1_000_000 // messages that one report may stand for
)

// Errors of reading.
var (
	ErrNoReport = errors.New("there is no failure report in it")
	ErrReport   = errors.New("not a valid failure report")
)

// Report is one failure report. Only Domain is always there.
type Report struct {
	Domain   addr.Domain // in whose name the message was
	Failure  string      // which proof failed: "dmarc", "spf", "signature", ...
	Source   netip.Addr  // who sent the message
	Agent    string      // what wrote the report
	Delivery string      // what was done with the message
	Count    int64       // messages that it stands for: RFC 5965, section 3.2
}

// Is reports whether a message of a type may bring a failure report.
func Is(mediaType string) bool { return mediaType == "message/feedback-report" }

// ReadMessage reads the report that a message brings: its part of the type
// message/feedback-report.
func ReadMessage(r io.Reader) (*Report, error) {
	var report *Report
	failed := ErrNoReport
	err := parts.Each(r, maxMessage, func(p parts.Part) (more bool) {
		if !Is(p.Type) {
			return true
		}
		report, failed = Read(p.Body)
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReport, err)
	}
	return report, failed
}

// Read reads the fields of a report: RFC 5965, section 3.
func Read(r io.Reader) (*Report, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFields+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if len(text) > maxFields {
		return nil, fmt.Errorf("%w: more than %d octets", ErrReport, maxFields)
	}
	report := &Report{Count: 1}
	kind := ""
	for f := range message.Fields(canonical(text)) {
		value := message.Printable(strings.TrimSpace(f.Value()))
		value = strings.ToValidUTF8(value[:min(len(value), maxText)], "")
		switch strings.ToLower(f.Name()) {
		case "feedback-type":
			kind = strings.ToLower(value)
		case "reported-domain":
			if d, err := addr.ParseDomain(value); err == nil {
				report.Domain = d
			}
		case "auth-failure":
			report.Failure = strings.ToLower(value)
		case "source-ip":
			report.Source, _ = netip.ParseAddr(value)
		case "user-agent":
			report.Agent = value
		case "delivery-result":
			report.Delivery = strings.ToLower(value)
		case "incidents":
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
				report.Count = min(n, maxCount)
			}
		}
	}
	switch {
	case kind != "auth-failure":
		return nil, fmt.Errorf("%w: it is of the kind %q", ErrReport, kind)
	case report.Domain == "":
		return nil, fmt.Errorf("%w: it does not say of which domain it is", ErrReport)
	}
	return report, nil
}

// canonical returns a text with CR LF at the end of each line, and of itself.
func canonical(text []byte) []byte {
	s := strings.ReplaceAll(string(text), "\r\n", "\n")
	return []byte(strings.ReplaceAll(s+"\n", "\n", "\r\n"))
}
