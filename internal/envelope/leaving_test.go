package envelope

import (
	"reflect"
	"testing"
	"time"

	"gatepost/internal/addr"
)

// What leaves has all of the envelope but what the spool may be changing.
func TestLeaving(t *testing.T) {
	t.Parallel()
	e := &Envelope{
		ID: ID{1}, Received: time.Unix(1, 0), From: addr.MustParse("a@example.org"), Origin: Proven, Account: "b", Client: "c",
		Ret: RetFull, EnvID: "d", UTF8: true, Form: EightBit, RequireTLS: true, TLSOptional: true, Unfit: true,
		Header: []byte("X: y\r\n"), Size: 7, Recipients: []Recipient{{To: addr.MustParse("z@example.com")}}, Held: true, Delayed: true,
	}
	for v, i := reflect.ValueOf(*e), 0; i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("%s is not in this test", v.Type().Field(i).Name)
		}
	}
	from, header := addr.MustParse("f@example.org"), []byte("A: b\r\nX: y\r\n")
	got := e.Leaving(from, header, 100)
	want := *e
	want.From, want.Header, want.Size, want.Held, want.Delayed = from, header, int64(len(header))+100, false, false
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("%+v, want %+v", *got, want)
	}
	if &got.Recipients[0] != &e.Recipients[0] {
		t.Error("the recipients were copied, of which the spool may be changing some")
	}
}
