package control

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxFrame bounds one frame, in octets. A body is sent in as many frames as
// it takes.
const maxFrame = 1 << 20

// The kinds of frame. A call is one kindCall, and if it says so
// (Feed) any number of kindItem and then one kindDone or kindError. The answer
// is the same, and may begin before the call has ended. A body follows its
// item in any number of kindBody; an empty one says that it is whole.
const (
	kindCall  = 'C'
	kindItem  = 'J'
	kindBody  = 'B'
	kindDone  = '.'
	kindError = 'E'
)

var errFrame = errors.New("the other side does not speak this control protocol")

// writeFrame writes kind, length and content.
func writeFrame(w io.Writer, kind byte, content []byte) error {
	if len(content) > maxFrame {
		return fmt.Errorf("control: an item of %d octets is too large", len(content))
	}
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(content)))
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// readFrame reads one frame, bounded.
func readFrame(r *bufio.Reader) (kind byte, content []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, errFrame
	}
	content = make([]byte, n)
	_, err = io.ReadFull(r, content)
	return head[0], content, err
}

// call is what a command asks for.
type call struct {
	Verb string          `json:"verb"`
	Args json.RawMessage `json:"args"`
	Fed  bool            `json:"fed,omitempty"` // items follow
}

// bodyWriter cuts a body into frames.
type bodyWriter struct{ w io.Writer }

func (b bodyWriter) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n := min(len(p)-done, maxFrame)
		if err := writeFrame(b.w, kindBody, p[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}
