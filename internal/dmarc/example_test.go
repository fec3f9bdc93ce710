package dmarc_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/authres"
	"gatepost/internal/dkim"
	"gatepost/internal/dmarc"
	"gatepost/internal/resolve"
	"gatepost/internal/spf"
)

// A whole message is judged: SPF at MAIL, the author and the signatures at the
// end of the header, DMARC at the end of the data.
func Example() {
	dns := resolve.NewFake(`a.example TXT "v=spf1 ip4:192.0.2.0/24 -all"
_dmarc.a.example TXT "v=DMARC1\; p=reject"`)
	ctx, now := context.Background(), time.Now()

	s := spf.Check(ctx, dns, spf.ForMailFrom(netip.MustParseAddr("192.0.2.1"), "mta.a.example", addr.MustParse("joe@a.example")))

	header := []byte("From: Joe <joe@a.example>\r\nTo: ann@b.example\r\nSubject: Dinner\r\n\r\n")
	author, err := dmarc.FindAuthor(header)
	if err != nil {
		fmt.Println(err)
		return
	}
	signatures := dkim.NewVerifier(header)
	io.WriteString(signatures, "Is it ready?\r\n")

	d := signatures.Verify(ctx, dns, now)
	m := dmarc.Check(ctx, dns, author.Domain, s, d)

	results := authres.Results{ID: "mx.b.example", Results: []authres.Result{s.Auth(), m.Auth()}}
	for _, one := range d {
		results.Results = append(results.Results, one.Auth())
	}
	fmt.Printf("%s: %s\n", m.Status, m.Reason)
	fmt.Printf("%q\n", results.Field())
	// Output:
	// pass: a.example stands behind it: it comes from its server
	// "Authentication-Results: mx.b.example;\r\n\tspf=pass reason=\"192.0.2.1 may send for a.example (ip4:192.0.2.0/24)\"\r\n\tsmtp.mailfrom=joe@a.example;\r\n\tdmarc=pass header.from=a.example policy.dmarc=reject\r\n"
}
