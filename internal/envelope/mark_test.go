package envelope

import "testing"

func TestIsJunk(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"":                                false,
		"X-Gatepost-Junk: why\r\n":        true,
		"A: b\r\nx-gatepost-junk: y\r\n":  true,
		"A: b\r\n X-Gatepost-Junk: y\r\n": false,
		"X-Gatepost-Junk-Not: y\r\n":      false,
	} {
		if e := (&Envelope{Header: []byte(header)}); e.IsJunk() != want {
			t.Errorf("%q: %v", header, !want)
		}
	}
}
