package gate

import (
	"testing"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// BenchmarkMessage asks the gate all that one message from the world costs.
func BenchmarkMessage(b *testing.B) {
	g := newGate(newTown())
	header := []byte(section("Received: from a by b; Sun, 22 Nov 2026 03:29:00 +0000", "DKIM-Signature: v=1; a=rsa-sha256; d=remote.example;\r\n s=x; h=from:to; bh=xxxx;\r\n b=yyyy",
		"From: x@remote.example", "To: anna@example.org", "Subject: hello", "Date: Sun, 22 Nov 2026 03:29:00 +0000", "Message-ID: <1@remote.example>",
		"Authentication-Results: other.example; dkim=pass", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8"))
	to := envelope.Recipient{To: addr.MustParse("anna@example.org")}
	p := &envelope.Peer{}
	b.ReportAllocs()
	for b.Loop() {
		e := &envelope.Envelope{From: addr.MustParse("x@remote.example")}
		if g.Mail(b.Context(), p, e, 4096) != nil {
			b.Fatal("MAIL")
		}
		if _, err := g.Rcpt(b.Context(), p, e, to); err != nil {
			b.Fatal(err)
		}
		if _, err := g.Header(b.Context(), p, e, header); err != nil {
			b.Fatal(err)
		}
		if g.Data(b.Context(), p, e) != nil {
			b.Fatal("data")
		}
	}
}
