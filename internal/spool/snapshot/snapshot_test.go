package snapshot

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/ledger"
	"gatepost/internal/spool/wire"
)

// full sets every field of a struct to something.
func full(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Field(i)
		switch x := f.Addr().Interface().(type) {
		case *envelope.ID:
			*x = envelope.ID{1, 2, 3}
		case *time.Time:
			*x = time.Unix(1e9, 5).UTC()
		case *addr.Address:
			*x = addr.MustParse("a@example.org")
		case *[]byte:
			*x = []byte("X: y\r\n")
		case *[]envelope.Recipient:
			*x = make([]envelope.Recipient, 2)
			for k := range *x {
				full(t, reflect.ValueOf(&(*x)[k]).Elem())
			}
		default:
			switch f.Kind() {
			case reflect.String:
				f.SetString("text")
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Int64:
				f.SetInt(7)
			case reflect.Uint8, reflect.Uint16:
				f.SetUint(1)
			default:
				t.Fatalf("a field %s of type %s: give it a value here", v.Type().Field(i).Name, f.Type())
			}
		}
	}
}

// Every field of an envelope comes along, also those that are added one day:
// into the snapshot, and through its encoding.
func TestEveryField(t *testing.T) {
	t.Parallel()
	e := &envelope.Envelope{}
	full(t, reflect.ValueOf(e).Elem())
	l := ledger.New()
	entry := &ledger.Entry{Envelope: e, Body: wire.Content{Size: 9, Sum: 8}}
	l.Entries[e.ID] = entry
	l.Append(entry)
	s := Take(l, nil, wire.Mark{}, nil)
	defer s.Close()
	err := s.Each(func(m *Message) error {
		if !reflect.DeepEqual(m.Envelope, e) {
			t.Errorf("in the snapshot:\n%+v, not\n%+v", m.Envelope, e)
		}
		again, err := Read(bytes.NewReader(m.Append(nil)))
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(again.Envelope, e) || again.Size != 9 || again.Sum != 8 {
			t.Errorf("encoded:\n%+v, not\n%+v", again.Envelope, e)
		}
		return nil
	})
	if err != nil || s.Len() != 1 || s.Octets() != 9 {
		t.Error(s.Len(), s.Octets(), err)
	}
}

// What everyone waits for while a snapshot is taken of 100,000 messages.
func BenchmarkTake100k(b *testing.B) {
	l := ledger.New()
	for i := range 100_000 {
		e := &envelope.Envelope{
			ID: envelope.ID{byte(i), byte(i >> 8), byte(i >> 16)}, Header: make([]byte, 200),
			Recipients: []envelope.Recipient{{To: addr.MustParse("a@example.org")}},
		}
		entry := &ledger.Entry{Envelope: e}
		l.Entries[e.ID] = entry
		l.Append(entry)
	}
	b.ReportAllocs()
	for b.Loop() {
		Take(l, nil, wire.Mark{}, nil).Close()
	}
}
