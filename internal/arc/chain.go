package arc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gatepost/internal/authres"
	"gatepost/internal/dkim"
	"gatepost/internal/message"
)

// The fields of a set, in the order in which they are sealed: RFC 8617,
// section 5.1.1.
const (
	results = iota
	signature
	seal
	fields
)

var fieldNames = [fields]string{"ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"}

// link is one set as it stands in the header.
type link struct {
	raw  [fields][]byte
	at   int // of the message signature among the fields of the header
	sig  *dkim.Signature
	seal *dkim.Signature // a=, b=, d=, s= and t= alone
	cv   string
	said authres.Results
}

// chain is all that a header has of ARC.
type chain struct {
	links []link // the first one first
	top   int    // highest instance seen, sound or not
}

// collect finds the sets of a header and checks that they are a chain: RFC
// 8617, section 5.2, steps 1 to 3.
func collect(h *dkim.Header) (chain, error) {
	var c chain
	var all [MaxSets]link
	var broken error
	for at, f := range h.Fields {
		for kind, name := range fieldNames {
			if !f.Is(name) {
				continue
			}
			i, err := instance(kind, f)
			if err != nil {
				broken = err
				continue
			}
			l := &all[i-1]
			if l.raw[kind] != nil {
				broken = fmt.Errorf("there are two %s of instance %d", name, i)
			}
			if l.raw[kind] = f.Raw; kind == signature {
				l.at = at
			}
			c.top = max(c.top, i)
		}
	}
	c.links = all[:c.top]
	if broken != nil {
		return c, broken
	}
	for i := range c.links {
		for kind, raw := range c.links[i].raw {
			if raw == nil {
				return c, fmt.Errorf("%s of instance %d is missing", fieldNames[kind], i+1)
			}
		}
	}
	return c, nil
}

// instance returns the i= of a field: section 4.2.1.
func instance(kind int, f message.Field) (int, error) {
	if len(f.Raw) > maxField {
		return 0, fmt.Errorf("%s is too long", fieldNames[kind])
	}
	value := f.Value()
	if kind == results { // section 4.1.1: it stands in front
		first, _, ok := strings.Cut(value, ";")
		name, i, _ := strings.Cut(first, "=")
		if ok && strings.Trim(name, " \t") == "i" {
			return number(i)
		}
		return 0, errInstance
	}
	tags, err := dkim.ParseTags(value)
	if err != nil {
		return 0, fmt.Errorf("%s is %w", fieldNames[kind], err)
	}
	i, _ := tags.Get("i")
	return number(i)
}

var errInstance = errors.New("a field without an instance")

func number(s string) (int, error) {
	s = strings.Trim(s, " \t")
	n, err := strconv.Atoi(s)
	if err != nil || len(s) > 2 || n < 1 || n > MaxSets || s[0] == '+' {
		return 0, errInstance
	}
	return n, nil
}

// read reads what the fields of the sets say, and checks that it goes
// together: section 5.2, step 3.
func (c *chain) read() error {
	for i := range c.links {
		if err := c.links[i].read(i + 1); err != nil {
			return fmt.Errorf("instance %d: %w", i+1, err)
		}
	}
	return nil
}

func (l *link) read(instance int) error {
	tags, err := l.tags(signature)
	if err != nil {
		return err
	}
	if l.sig, err = dkim.FromTags(tags); err != nil {
		return fmt.Errorf("its signature: %w", err)
	}
	if _, ok := tags.Get("c"); !ok { // as the test suite has it; RFC 8617 is silent
		l.sig.HeaderCanon, l.sig.BodyCanon = dkim.Relaxed, dkim.Relaxed
	}
	if l.sig.Signs("ARC-Seal") { // section 4.1.2
		return errors.New("its signature covers seals")
	}
	if l.sig.Length >= 0 {
		return errors.New("its signature covers a part of the body only (l=)")
	}
	if tags, err = l.tags(seal); err != nil {
		return err
	}
	l.seal = &dkim.Signature{}
	for _, read := range []func(dkim.Tags) error{l.seal.Signer, l.seal.Times} {
		if err := read(tags); err != nil {
			return fmt.Errorf("its seal: %w", err)
		}
	}
	if _, ok := tags.Get("h"); ok { // section 4.1.3
		return errors.New("its seal has h=")
	}
	l.cv, _ = tags.Get("cv")
	if want := map[bool]string{true: "none", false: "pass"}[instance == 1]; l.cv != want {
		return fmt.Errorf("its seal says cv=%.10q where it must be %s", l.cv, want)
	}
	// What cannot be read was sealed all the same; it says nothing.
	f, _ := message.Find(l.raw[results], fieldNames[results])
	_, said, _ := strings.Cut(f.Value(), ";")
	l.said, _ = authres.Parse(said)
	return nil
}

func (l *link) tags(kind int) (dkim.Tags, error) {
	f, _ := message.Find(l.raw[kind], fieldNames[kind])
	return dkim.ParseTags(f.Value())
}

// claimsFailure reports whether the last seal says that the chain had failed
// before it: section 5.2, step 2.
func (c *chain) claimsFailure() bool {
	if c.top == 0 || c.links[c.top-1].raw[seal] == nil {
		return false
	}
	tags, err := c.links[c.top-1].tags(seal)
	cv, _ := tags.Get("cv")
	return err == nil && cv == "fail"
}

// appendSet appends the fields of a set as they are sealed.
func appendSet(buf []byte, raw [fields][]byte) []byte {
	for _, f := range raw {
		if f != nil {
			buf = dkim.AppendRelaxed(buf, f)
		}
	}
	return buf
}

// set returns what others are told of a link.
func (l *link) set(instance int) Set {
	return Set{
		Instance: instance, Sealer: l.seal.Domain, Selector: l.seal.Selector, Signer: l.sig.Domain,
		Time: l.seal.Time, Results: l.said,
	}
}
