package verdict

import (
	"strings"

	"gatepost/internal/arc"
	"gatepost/internal/authres"
	"gatepost/internal/envelope"
)

// maxMark bounds the reasons in one of our fields, in octets.
const maxMark = 900

// Results returns what was found, as a server of a name says it.
func (f *Facts) Results(id string) authres.Results {
	rs := authres.Results{ID: id}
	if f.IPRev.Status != "" {
		rs.Results = append(rs.Results, f.IPRev.Auth())
	}
	rs.Results = append(rs.Results, f.SPF.Auth())
	if f.Helo.Domain != "" {
		rs.Results = append(rs.Results, f.Helo.Auth())
	}
	for _, s := range f.DKIM {
		rs.Results = append(rs.Results, s.Auth())
	}
	if len(f.DKIM) == 0 {
		rs.Results = append(rs.Results, authres.Result{Method: "dkim", Value: "none"})
	}
	if f.Problem == nil {
		rs.Results = append(rs.Results, f.DMARC.Auth())
	} else {
		rs.Results = append(rs.Results, authres.Result{Method: "dmarc", Value: "permerror", Reason: f.Problem.Error()})
	}
	if f.ARC.Status != arc.None && f.ARC.Err == nil { // there is no word for what could not be found out
		rs.Results = append(rs.Results, f.ARC.Auth())
	}
	for i, r := range rs.Results {
		if r.Value == "temperror" {
			rs.Results[i].Reason = "" // names our resolver
		}
	}
	return rs
}

// Fields returns the fields to put in front of an accepted message: what was
// found, and what is to become of it.
func (v *Verdict) Fields(id string) []byte {
	b := v.Facts.Results(id).Field()
	if v.Action == Junk {
		b = append(b, envelope.JunkField+": "+plain(strings.Join(v.Reasons, "; "))+"\r\n"...)
	}
	return b
}

// plain returns a text as one line of printable ASCII, which no hop changes.
func plain(s string) string {
	s = s[:min(len(s), maxMark)]
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
