package dmarc

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"gatepost/internal/resolve"
)

func TestDestinations(t *testing.T) {
	t.Parallel()
	z := zone("example.com: v=DMARC1; p=none")
	z.Add(`example.com._report._dmarc.agrees.example TXT "v=DMARC1\;"
example.com._report._dmarc.other.example TXT "v=DMARC1\; rua=mailto:x@other.example\; ruf=mailto:y@other.example,mailto:z@other.example"
example.com._report._dmarc.loop.example TXT "v=DMARC1\; rua=mailto:x@victim.example"
example.com._report._dmarc.moo.example TXT "moo"`)
	for uris, want := range map[string]string{
		"mailto:a@example.com":      "a@example.com",
		"mailto:a@sub.example.com":  "a@sub.example.com",
		"mailto:a@agrees.example":   "a@agrees.example",
		"mailto:a@stranger.example": "",
		"mailto:a@other.example":    "x@other.example",
		"mailto:a@loop.example":     "",
		"mailto:a@moo.example":      "",
		"mailto:a@[192.0.2.1]":      "",
		"https://example.com/":      "",
		"mailto:a@example.com,mailto:b@stranger.example,mailto:c@agrees.example": "a@example.com c@agrees.example",
	} {
		list, err := Destinations(t.Context(), z, "example.com", strings.Split(uris, ","), false)
		var got []string
		for _, a := range list {
			got = append(got, a.String())
		}
		if s := strings.Join(got, " "); err != nil || s != want {
			t.Errorf("%s: %q, %v; want %q", uris, s, err, want)
		}
	}
	list, err := Destinations(t.Context(), z, "example.com", []string{"mailto:a@other.example"}, true)
	if err != nil || len(list) != 2 || list[1].Local != "z" {
		t.Errorf("%v, %v", list, err)
	}
	z.Fail("example.com._report._dmarc.agrees.example", dns.TypeTXT, resolve.ErrTemporary)
	if _, err := Destinations(t.Context(), z, "example.com", []string{"mailto:a@agrees.example"}, false); !errors.Is(err, resolve.ErrTemporary) {
		t.Error(err)
	}
}
