package test

import (
	"encoding/json"
	"testing"
)

// report is a delivery report as another reader understands it.
type report struct {
	Type       string              // multipart/report
	ReportType string              `json:"report_type"`
	Parts      []string            // media types
	Defects    []string            // what the reader does not like
	Header     map[string]string   // of the report
	Human      string              // the first part
	Status     []map[string]string // the second part: the message, then each recipient
	Original   string              // the third part
}

// reader is Python's email package.
const reader = `
import email, email.policy, json, sys
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
assert m.is_multipart(), m.as_string()
parts = m.get_payload()
original = parts[2].get_payload()
print(json.dumps({
    "type": m.get_content_type(),
    "report_type": m.get_param("report-type"),
    "parts": [p.get_content_type() for p in parts],
    "defects": [str(d) for p in m.walk() for d in p.defects],
    "header": dict(m.items()),
    "human": parts[0].get_content(),
    "status": [dict(fields.items()) for fields in parts[1].get_payload()],
    "original": original if isinstance(original, str) else original[0].as_string(),
}))
`

// readReport has a message read by Python.
func readReport(t *testing.T, content string) report {
	t.Helper()
	need(t, "python3")
	var r report
	out := run(t, content, "python3", "-c", reader)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r.Type != "multipart/report" || r.ReportType != "delivery-status" || len(r.Parts) != 3 ||
		r.Parts[1] != "message/delivery-status" || len(r.Defects) > 0 || len(r.Status) < 2 {
		t.Errorf("not a sound report: %+v\n%s", r, content)
	}
	if r.Header["Return-Path"] != "<>" || r.Header["Auto-Submitted"] == "" {
		t.Errorf("a report that may be answered: %+v", r.Header)
	}
	return r
}
