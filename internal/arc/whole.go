package arc

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatepost/internal/authres"
	"gatepost/internal/dkim"
	"gatepost/internal/message"
	"gatepost/internal/resolve"
)

// Forwarder seals whole messages, for those who pass them on without being a
// server of ours.
type Forwarder struct {
	Key      dkim.SigningKey
	Resolver resolve.Resolver // for the keys of earlier sets
	// ID is the name of the server that verified the message when it came.
	// What it found is believed from any Authentication-Results that bears
	// the name: that server has to take out those that others have put in.
	ID string
}

// Seal returns a message with another set in front, made at a time. The lines
// of the message end in LF or CR LF, those of the set as its first line does;
// nothing else is changed.
func (f *Forwarder) Seal(ctx context.Context, content []byte, made time.Time) ([]byte, error) {
	header, body := canonical(content)
	said, err := f.said(header)
	if err != nil {
		return nil, err
	}
	v := NewVerifier(header)
	v.Write(body)
	received := v.Verify(ctx, f.Resolver, made)
	if received.Err != nil { // to seal that it fails would end the chain
		return nil, fmt.Errorf("arc: whether the chain is good cannot be told: %w", received.Err)
	}
	s, err := NewSealer(header, f.Key, received, said, made)
	if err != nil {
		return nil, err
	}
	s.Write(body)
	set, err := s.Seal()
	if err != nil {
		return nil, err
	}
	if line, _, _ := bytes.Cut(content, []byte("\n")); !bytes.HasSuffix(line, []byte("\r")) {
		set = bytes.ReplaceAll(set, []byte("\r\n"), []byte("\n"))
	}
	return slices.Concat(set, content), nil
}

// canonical returns the header section and the body as they are hashed.
func canonical(content []byte) (header, body []byte) {
	content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	if len(content) > 0 && content[len(content)-1] != '\n' {
		content = append(content, '\n')
	}
	content = bytes.ReplaceAll(content, []byte("\n"), []byte("\r\n"))
	if body, ok := bytes.CutPrefix(content, []byte("\r\n")); ok {
		return nil, body
	}
	header, body, found := bytes.Cut(content, []byte("\r\n\r\n"))
	if found {
		header = content[:len(header)+len("\r\n")]
	}
	return header, body
}

// said gathers what the server found. A field of its own that cannot be read
// is an error: the set would say less than is known.
func (f *Forwarder) said(header []byte) (authres.Results, error) {
	all := authres.Results{ID: f.ID}
	for field := range message.Fields(header) {
		if !field.Is("Authentication-Results") {
			continue
		}
		rs, err := authres.Parse(field.Value())
		id, _, _ := strings.Cut(field.Value(), ";")
		switch {
		case err != nil && strings.EqualFold(strings.TrimSpace(id), f.ID):
			return all, fmt.Errorf("arc: what %s found cannot be read: %w", f.ID, err)
		case err == nil && strings.EqualFold(rs.ID, f.ID):
			all.Results = append(all.Results, rs.Results...)
		}
	}
	if len(all.Results) > authres.MaxResults {
		return all, fmt.Errorf("arc: %d results, more than a set can tell", len(all.Results))
	}
	return all, nil
}
