package wire

import (
	"encoding/binary"
	"strings"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
)

// MaxReason bounds the reason that is kept of a recipient, in octets: it is
// another server's text. MaxChange bounds an encoded change.
const (
	MaxReason = 512
	MaxChange = MaxReason + 48
)

// Flags of an encoded envelope and of an encoded change.
const (
	flagHeld = 1 << iota
	flagDelayed
	flagUTF8
	flagBlob // the body is a blob; its size and sum follow
	flagLast // with this change the message is done
	flagRequireTLS
	flagTLSOptional
	flagUnfit
	flagsAll      = 1<<iota - 1
	flagsOfChange = flagLast<<1 - 1
)

// viaFollows is set beside the bits of Notify where the address follows that
// a recipient was sent to.
const viaFollows = 1 << 7

// Content says where a body is and how to know it.
type Content struct {
	Size int64
	Sum  uint32 // CRC32C
	Blob bool   // in the blob that is named after the message; else in the record
}

// AppendEnvelope encodes a message apart from an inline body. Integers are
// varints, texts are preceded by their length, times are nanoseconds since
// 1970 with zero for none.
func AppendEnvelope(b []byte, e *envelope.Envelope, c Content) []byte {
	flags := byte(0)
	for i, set := range []bool{e.Held, e.Delayed, e.UTF8, c.Blob} {
		if set {
			flags |= 1 << i
		}
	}
	if e.RequireTLS {
		flags |= flagRequireTLS
	}
	if e.TLSOptional {
		flags |= flagTLSOptional
	}
	if e.Unfit {
		flags |= flagUnfit
	}
	b = append(b, e.ID[:]...)
	b = append(b, flags, byte(e.Origin), byte(e.Ret), byte(e.Form))
	b = appendTime(b, e.Received)
	b = appendAddress(b, e.From)
	b = appendText(b, e.Account)
	b = appendText(b, e.Client)
	b = appendText(b, e.EnvID)
	b = binary.AppendUvarint(b, uint64(e.Size))
	if c.Blob {
		b = binary.AppendUvarint(b, uint64(c.Size))
		b = le.AppendUint32(b, c.Sum)
	}
	b = appendText(b, e.Header)
	b = binary.AppendUvarint(b, uint64(len(e.Recipients)))
	for i := range e.Recipients {
		r := &e.Recipients[i]
		b = appendAddress(b, r.To)
		b = appendText(b, r.ORcpt)
		if r.Via.IsNull() {
			b = append(b, byte(r.Notify))
		} else {
			b = appendAddress(append(b, byte(r.Notify)|viaFollows), r.Via)
		}
		b = append(b, byte(r.Status))
		b = binary.AppendUvarint(b, uint64(r.Attempts))
		b = appendTime(b, r.Next)
		b = appendText(b, r.Reason)
	}
	return b
}

// AppendChange encodes a change; last says that it ends the message.
func AppendChange(b []byte, c *envelope.Change, last bool) []byte {
	flags := byte(0)
	if c.Held {
		flags |= flagHeld
	}
	if c.Delayed {
		flags |= flagDelayed
	}
	if last {
		flags |= flagLast
	}
	b = append(b, c.ID[:]...)
	b = append(b, flags, byte(c.Status))
	b = binary.AppendVarint(b, int64(c.Recipient))
	b = binary.AppendUvarint(b, uint64(c.Attempts))
	b = appendTime(b, c.Next)
	return appendText(b, c.Reason)
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendAddress(b []byte, a addr.Address) []byte {
	return appendText(appendText(b, a.Local), string(a.Domain))
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixNano())
}

// Decoder reads what the append functions wrote. After the first error
// everything reads as zero.
type Decoder struct {
	b      []byte
	failed bool
	words  *Words
}

// NewDecoder returns a decoder of the meta of one record.
func NewDecoder(meta []byte, w *Words) *Decoder { return &Decoder{b: meta, words: w} }

// More reports whether anything is left.
func (d *Decoder) More() bool { return len(d.b) > 0 }

// Len returns how many octets are left.
func (d *Decoder) Len() int { return len(d.b) }

// Failed reports whether what was read so far made no sense.
func (d *Decoder) Failed() bool { return d.failed }

func (d *Decoder) fail() {
	d.b, d.failed = nil, true
}

func (d *Decoder) take(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *Decoder) octet(most byte) byte {
	p := d.take(1)
	if len(p) == 0 {
		return 0
	}
	if p[0] > most {
		d.fail()
		return 0
	}
	return p[0]
}

func (d *Decoder) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > most {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *Decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *Decoder) uint32() uint32 {
	if p := d.take(4); len(p) == 4 {
		return le.Uint32(p)
	}
	return 0
}

func (d *Decoder) text() []byte { return d.take(d.uvarint(1 << 31)) }

// word is text that many messages share.
func (d *Decoder) word() string { return d.words.Intern(d.text()) }

func (d *Decoder) time() time.Time {
	if n := d.varint(); n != 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

// ID reads an id.
func (d *Decoder) ID() (id envelope.ID) {
	copy(id[:], d.take(uint64(len(id))))
	return id
}

func (d *Decoder) address() addr.Address {
	local := string(d.text())
	return addr.Address{Local: local, Domain: addr.Domain(d.word())}
}

// Envelope reads what AppendEnvelope wrote. The size and sum of an inline
// body are not there: the record's header has them.
func (d *Decoder) Envelope() (*envelope.Envelope, Content) {
	e, c := &envelope.Envelope{ID: d.ID()}, Content{}
	flags := d.octet(flagsAll)
	e.Held, e.Delayed, e.UTF8 = flags&flagHeld != 0, flags&flagDelayed != 0, flags&flagUTF8 != 0
	e.RequireTLS, e.TLSOptional, e.Unfit = flags&flagRequireTLS != 0, flags&flagTLSOptional != 0, flags&flagUnfit != 0
	e.Origin = envelope.Origin(d.octet(byte(envelope.Proven)))
	e.Ret = envelope.Ret(d.octet(byte(envelope.RetHdrs)))
	e.Form = envelope.Form(d.octet(0xff))
	e.Received = d.time()
	e.From = d.address()
	e.Account = d.word()
	e.Client = d.word()
	e.EnvID = string(d.text())
	e.Size = int64(d.uvarint(1 << 62))
	if c.Blob = flags&flagBlob != 0; c.Blob {
		c.Size = int64(d.uvarint(1 << 62))
		c.Sum = d.uint32()
	}
	e.Header = append([]byte(nil), d.text()...)
	const shortest = 8 // octets of a recipient without any text
	n := d.uvarint(uint64(len(d.b) / shortest))
	e.Recipients = make([]envelope.Recipient, n)
	for i := range e.Recipients {
		r := &e.Recipients[i]
		r.To = d.address()
		r.ORcpt = string(d.text())
		notify := d.octet(0xff)
		r.Notify = envelope.Notify(notify &^ viaFollows)
		if notify&viaFollows != 0 {
			r.Via = d.address()
		}
		r.Status = envelope.Status(d.octet(byte(envelope.Dropped)))
		r.Attempts = uint16(d.uvarint(1<<16 - 1))
		r.Next = d.time()
		r.Reason = d.word()
	}
	return e, c
}

// Change reads what AppendChange wrote.
func (d *Decoder) Change() (c envelope.Change, last bool) {
	c.ID = d.ID()
	flags := d.octet(flagsOfChange)
	c.Held, c.Delayed = flags&flagHeld != 0, flags&flagDelayed != 0
	c.Status = envelope.Status(d.octet(byte(envelope.Dropped)))
	c.Recipient = int(d.varint())
	c.Attempts = uint16(d.uvarint(1<<16 - 1))
	c.Next = d.time()
	c.Reason = d.word()
	return c, flags&flagLast != 0
}

// Words keeps one copy of texts that many messages share: domains, accounts,
// clients, reasons. It forgets them all when it has grown to its bound, which
// costs some copies and no memory.
type Words struct{ known map[string]string }

// Bounds of words: how many it keeps and the longest, in octets.
const (
	maxWords = 1 << 14
	maxWord  = 256
)

// Intern returns p as a text.
func (w *Words) Intern(p []byte) string {
	if s, ok := w.known[string(p)]; ok {
		return s
	}
	return w.keep(string(p))
}

// Share is Intern for what may be a small part of a larger text, which then
// need not be kept.
func (w *Words) Share(s string) string {
	if s, ok := w.known[s]; ok {
		return s
	}
	return w.keep(strings.Clone(s))
}

func (w *Words) keep(s string) string {
	if len(s) > maxWord {
		return s
	}
	if w.known == nil || len(w.known) >= maxWords {
		w.known = map[string]string{}
	}
	w.known[s] = s
	return s
}

// Voided is a range of sequences that were refused after something of them
// may have reached segments up to a generation.
type Voided struct{ First, Last, Gen uint64 }

// AppendVoided encodes a range.
func AppendVoided(b []byte, v Voided) []byte {
	b = le.AppendUint64(b, v.First)
	b = le.AppendUint64(b, v.Last)
	return le.AppendUint64(b, v.Gen)
}

// Voided reads what AppendVoided wrote.
func (d *Decoder) Voided() (v Voided) {
	if p := d.take(24); len(p) == 24 {
		v = Voided{le.Uint64(p), le.Uint64(p[8:]), le.Uint64(p[16:])}
	}
	return v
}

// Sensible reports whether the meta of a record can be read to its end.
func (f Found) Sensible(w *Words) bool {
	d := NewDecoder(f.Text, w)
	if f.Kind == Message || f.Kind == Moved {
		d.Envelope()
	}
	for d.More() {
		switch f.Kind {
		case Gone:
			d.ID()
		case Void:
			d.Voided()
		default:
			d.Change()
		}
	}
	return !d.Failed()
}
