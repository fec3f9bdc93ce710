package dmarc

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"gatepost/internal/addr"
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
		list, refused, err := Destinations(t.Context(), z, "example.com", strings.Split(uris, ","), false, 5)
		var got []string
		for _, d := range list {
			got = append(got, d.To.String())
		}
		if s := strings.Join(got, " "); err != nil || s != want || s == "" && strings.HasPrefix(uris, "mailto:") && len(refused) != 1 {
			t.Errorf("%s: %q, %v, %v; want %q", uris, s, refused, err, want)
		}
	}
	list, _, err := Destinations(t.Context(), z, "example.com", []string{"mailto:a@other.example!2m"}, true, 5)
	if err != nil || len(list) != 2 || list[1].To.Local != "z" || list[0].Limit != 0 {
		t.Errorf("%v, %v", list, err)
	}
	z.Fail("example.com._report._dmarc.agrees.example", dns.TypeTXT, resolve.ErrTemporary)
	list, _, err = Destinations(t.Context(), z, "example.com", []string{"mailto:a@agrees.example", "mailto:b@example.com!3"}, false, 5)
	if !errors.Is(err, resolve.ErrTemporary) || len(list) != 1 || list[0] != (Destination{addr.MustParse("b@example.com"), 3}) {
		t.Errorf("%v, %v", list, err)
	}
}

// A record that lists thousands gets no more looked up, or sent to, than we
// like, and each address once.
func TestDestinationsFlood(t *testing.T) {
	t.Parallel()
	z := zone("example.com: v=DMARC1; p=none")
	flood := []string{"mailto:a@example.com", "mailto:a@example.com"}
	for i := range 3000 {
		flood = append(flood, fmt.Sprintf("mailto:a@v%d.example", i))
	}
	list, refused, err := Destinations(t.Context(), z, "example.com", flood, false, 5)
	if err != nil || len(list) != 1 || len(refused) != 4 {
		t.Errorf("%v, %v, %v", list, refused, err)
	}
	long := addr.Domain(strings.Repeat("a12345678.", 20) + "example")
	if list, _, err := Destinations(t.Context(), z, long, []string{"mailto:a@b" + string(long)}, false, 5); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	z := zone("example.com: v=DMARC1; p=reject")
	if rec, err := Lookup(t.Context(), z, "example.com"); err != nil || rec == nil || rec.Policy != Reject {
		t.Errorf("%+v, %v", rec, err)
	}
	if rec, err := Lookup(t.Context(), z, "sub.example.com"); err != nil || rec != nil {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	for size, want := range map[string]int64{
		"": 0, "!": 0, "!10m": 10 << 20, "!1K": 1024, "!5": 5, "!2g": 2 << 30, "!1t": 1 << 40, "!99999999999999999999m": 0, "!9223372036854775807t": math.MaxInt64,
		"!-1": 0, "!+1": 0, "!1mm": 0, "!m": 0, "!0": 0,
	} {
		r, err := ParseRecord("v=DMARC1; p=none; rua=mailto:a@b.example" + size)
		if err != nil || len(r.Aggregate) != 1 || Limit(r.Aggregate[0]) != want {
			t.Errorf("%s: %+v, %v", size, r, err)
			continue
		}
		if a, ok := Mailto(r.Aggregate[0]); !ok || a.String() != "a@b.example" {
			t.Errorf("%s: %v", size, a)
		}
	}
}
