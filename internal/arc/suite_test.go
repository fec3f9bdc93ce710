package arc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"gatepost/internal/resolve"
)

var now = time.Date(2026, 11, 3, 8, 0, 0, 0, time.UTC)

// verify verifies a message whose lines end in CR LF.
func verify(t testing.TB, r resolve.Resolver, msg []byte) Result {
	t.Helper()
	header, body, found := bytes.Cut(msg, []byte("\r\n\r\n"))
	if found {
		header = append(bytes.Clone(header), "\r\n"...)
	}
	v := NewVerifier(header)
	for len(body) > 0 {
		n := min(len(body), 7)
		v.Write(body[:n])
		body = body[n:]
	}
	return v.Verify(t.Context(), r, now)
}

// txt returns a TXT record whose text may be longer than one string.
func txt(name, text string) string {
	var b strings.Builder
	b.WriteString(name + " TXT")
	for text != "" {
		n := min(len(text), 200)
		b.WriteString(` "` + text[:n] + `"`)
		text = text[n:]
	}
	return b.String() + "\n"
}

// TestSuite passes all 171 cases of the ARC validation suite. Three of them
// have no expected result: the last seal says cv=fail, of which RFC 8617,
// section 5.2, step 2 makes "fail".
func TestSuite(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/arc-draft-validation-tests.json")
	if err != nil {
		t.Fatal(err)
	}
	var suite []struct {
		Description string
		Tests       map[string]struct{ Message, CV string }
		TXT         map[string]string `json:"txt-records"`
	}
	if err := json.Unmarshal(b, &suite); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, s := range suite {
		zone := resolve.NewFake("")
		for name, text := range s.TXT {
			zone.Add(txt(name, text))
		}
		for name, tt := range s.Tests {
			n++
			t.Run(s.Description+"/"+name, func(t *testing.T) {
				want := strings.ToLower(tt.CV)
				if want == "" {
					want = "fail"
				}
				msg := []byte(strings.ReplaceAll(tt.Message, "\n", "\r\n"))
				got := verify(t, zone, msg)
				if got.Status.String() != want || got.Reason == "" {
					t.Errorf("%v (%s), want %s", got.Status, got.Reason, want)
				}
				if sets := fmt.Sprint(len(got.Sets)); got.Status == Pass && (len(got.Sets) == 0 || got.OldestPass < 1 || got.OldestPass > len(got.Sets)) {
					t.Errorf("%s sets, oldest %d", sets, got.OldestPass)
				}
			})
		}
	}
	if n != 171 {
		t.Errorf("%d cases; the suite has 171", n)
	}
}
