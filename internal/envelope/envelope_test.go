package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/smtp"
)

func TestID(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_800_000_000_000)
	a, err := NewID(now, strings.NewReader("0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	later, _ := NewID(now.Add(time.Millisecond), bytes.NewReader(make([]byte, 10)))
	if a.String() >= later.String() {
		t.Errorf("ids do not sort by age: %s, %s", a, later)
	}
	if b, err := ParseID(a.String()); err != nil || b != a {
		t.Errorf("%s reads as %s, %v", a, b, err)
	}
	for _, s := range []string{"", "x", strings.Repeat("l", 26), a.String() + "0", strings.ToUpper(later.String())} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("%q passes for an id", s)
		}
	}
	if _, err := NewID(now, strings.NewReader("short")); err == nil {
		t.Error("an id without randomness")
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("0123456789abcdefghjkmnpqrs")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseID(s); err == nil {
			if again, err := ParseID(id.String()); err != nil || again != id {
				t.Errorf("%q: %v %v", s, again, err)
			}
		}
	})
}

func TestAsError(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	for _, tt := range []struct {
		in   error
		code int
	}{
		{Refuse(550, "5.1.1", "no such user"), 550},
		{fmt.Errorf("rcpt: %w", Fail(cause, 452, "4.3.1", "no room")), 452},
		{fmt.Errorf("mail: %w", &smtp.Reply{Code: 501}), 501},
		{cause, 451},
	} {
		e := AsError(tt.in)
		if e.Code != tt.code || strings.Contains(e.Text, "fire") {
			t.Errorf("%v: told as %v", tt.in, e.Reply)
		}
	}
	if AsError(nil) != nil {
		t.Error("no error is no error")
	}
	if e := AsError(cause); !errors.Is(e, cause) || !strings.Contains(e.Error(), "fire") {
		t.Error("the log does not get the cause")
	}
}

func TestBounceable(t *testing.T) {
	t.Parallel()
	from := addr.MustParse("a@b")
	for _, tt := range []struct {
		e    Envelope
		want bool
	}{
		{Envelope{From: from, Origin: User}, true},
		{Envelope{From: from, Origin: Relay}, true},
		{Envelope{From: from, Origin: Proven}, true},
		{Envelope{From: from, Origin: Remote}, false}, // its reverse-path is not proven
		{Envelope{Origin: User}, false},
		{Envelope{Origin: Self}, false},
	} {
		if got := tt.e.Bounceable(); got != tt.want {
			t.Errorf("%v from %q: %v", tt.e.Origin, tt.e.From, got)
		}
	}
}

func TestNeedsUTF8(t *testing.T) {
	t.Parallel()
	ascii, utf8 := addr.MustParse("a@bücher.example"), addr.MustParse("ä@b")
	for _, tt := range []struct {
		from, to addr.Address
		declared bool
		form     Form
		want     bool
	}{
		{ascii, ascii, true, 0, false},
		{ascii, ascii, true, EightBit, false},
		{ascii, ascii, true, HeaderUTF8, true},
		{ascii, ascii, false, HeaderUTF8, false}, // sent as it came
		{utf8, ascii, true, 0, true},
		{ascii, utf8, true, 0, true},
	} {
		e := Envelope{From: tt.from, UTF8: tt.declared, Form: tt.form}
		if got := e.NeedsUTF8(&Recipient{To: tt.to}); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestNotify(t *testing.T) {
	t.Parallel()
	if !Notify(0).Wants(NotifyFailure) || !Notify(0).Wants(NotifyDelay) || Notify(0).Wants(NotifySuccess) {
		t.Error("without NOTIFY, failure and delay are told, success is not")
	}
	if NotifyNever.Wants(NotifyFailure) || NotifySuccess.Wants(NotifyFailure) || !(NotifySuccess | NotifyDelay).Wants(NotifyDelay) {
		t.Error("NOTIFY is not heeded")
	}
}

func TestDone(t *testing.T) {
	t.Parallel()
	e := Envelope{Recipients: []Recipient{{Status: Delivered}, {Status: Kept}}}
	if e.Done() {
		t.Error("a kept failure is not done")
	}
	e.Recipients[1].Status = Dropped
	if !e.Done() {
		t.Error("all are final")
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	closed := 0
	file := FileBody(strings.NewReader("..content.."), 2, 7, func() error { closed++; return nil })
	for _, b := range []*Body{MemoryBody([]byte("content")), file} {
		got, err := io.ReadAll(b.Reader())
		if err != nil || string(got) != "content" || b.Size() != 7 {
			t.Errorf("%q, %v, size %d", got, err, b.Size())
		}
		b.Close()
		b.Close()
	}
	if closed != 1 {
		t.Errorf("closed %d times", closed)
	}
}
