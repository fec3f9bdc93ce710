package proof

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatepost/internal/audit"
	"gatepost/internal/envelope"
	"gatepost/internal/mtasts"
	"gatepost/internal/store"
	"gatepost/internal/tlsrpt"
	"gatepost/internal/transport"
)

// within is the store in the middle of a transaction.
type within struct{ tx *store.Tx }

func (w within) View(f func(*store.Tx) error) error { return f(w.tx) }

// Every row is checked, and a sound one is not told.
func TestCheck(t *testing.T) {
	t.Parallel()
	b, c := newBook(t)
	b.Keep(message(1, "a@example.org"), []int{0}, &envelope.Proof{At: c.Now(), Host: "mx.example.org", Policy: "none"})
	b.Remember("example.org", transport.Reached{Level: transport.Require, At: c.Now()})
	b.Arrived(&envelope.Peer{Helo: "x"}, &envelope.Envelope{ID: envelope.ID{1}, Client: "192.0.2.9", Received: c.Now()}, "<1@x>")
	b.Flush()
	policy, err := mtasts.ParsePolicy("version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 86400\n")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		Policies{b.db}.Put(t.Context(), mtasts.Entry{Domain: "example.org", ID: "1", Policy: policy, Fetched: c.Now(), Next: c.Now()}),
		Sums{b.db}.Add(t.Context(), []tlsrpt.Sum{{Day: time.Unix(0, 0), Domain: "example.org"}}))
	if err != nil {
		t.Fatal(err)
	}
	undo := errors.New("undo")
	for spoil, want := range map[string]string{
		"":                                   "",
		`UPDATE sts_policy SET policy = 'x'`: "The MTA-STS policy of example.org cannot be read: ",
		`UPDATE tls_level SET level = 'x'`:   "What example.org reached cannot be read: ",
		`UPDATE tls_sum SET policy = 'x'`:    "A policy in the sums for example.org cannot be read: ",
		`UPDATE tls_sum SET failure = '[]'`:  "A failure in the sums for example.org cannot be read: ",
		`UPDATE proof SET spool = 'x'`:       "The proof of what a@example.org got cannot be used: ",
		`UPDATE arrival SET spool = 'x'`:     "How a message came from 192.0.2.9 cannot be used: ",
		`DELETE FROM hop`:                    "The proof of what a@example.org got cannot be used: ",
		`UPDATE sequence SET next = 1`:       "The sequence hop gives ids twice: it goes on with 1.",
	} {
		var list []audit.Finding
		err := b.db.Update(t.Context(), func(tx *store.Tx) error {
			if spoil != "" {
				if n, err := tx.Exec(spoil); err != nil || n == 0 {
					t.Errorf("%s: %d rows, %v", spoil, n, err)
				}
			}
			if err := Check(within{tx}, func(f audit.Finding) { list = append(list, f) }); err != nil {
				return err
			}
			return undo
		})
		if !errors.Is(err, undo) {
			t.Fatal(err)
		}
		switch {
		case want == "" && len(list) == 0:
		case want == "" || len(list) != 1 || !strings.HasPrefix(list[0].Text, want) || list[0].Level != audit.Failure || list[0].Fix == "":
			t.Errorf("%s: found %+v", spoil, list)
		}
	}
}
