package settle

import (
	"strings"
	"testing"
	"time"

	"gatepost/internal/envelope"
)

// What other servers say is shown cleaned and short.
func TestReason(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o    envelope.Outcome
		want string
	}{
		{envelope.Outcome{Host: "mx.a.example", Err: envelope.Refuse(451, "4.7.1", "greylisted")}, "mx.a.example answered 451 4.7.1 greylisted. The server asks everybody whom it does not know yet to come back a little later."},
		{envelope.Outcome{Err: envelope.Refuse(451, "4.3.0", "disk")}, "disk"},
		{envelope.Outcome{Host: "mx.a.example", Ours: true, Err: envelope.Refuse(451, "4.4.1", "no connection to mx.a.example (192.0.2.1): connection refused")},
			"no connection to mx.a.example (192.0.2.1): connection refused"},
		{envelope.Outcome{}, "no answer"},
		{envelope.Outcome{Host: "h\r\nx", Err: envelope.Refuse(550, "", "a\nb\x1b[31m\u202e"+strings.Repeat("é", 500))},
			"hx answered 550 a / b[31m" + strings.Repeat("é", 72) + ".... The recipient's server refuses the message."},
	} {
		if got := Reason(tt.o); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestPeriod(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		5 * 24 * time.Hour: "5 days", 30 * time.Hour: "30 hours", 90 * time.Minute: "90 minutes", 5 * time.Second: "5 seconds", time.Second: "1 second",
	} {
		if got := Period(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}
