package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
)

// Item is one item of an answer.
type Item struct {
	JSON json.RawMessage
	// Body reads what came with the item; it is empty where nothing did. It
	// is valid until the function that was given the item returns.
	Body io.Reader
}

// Call asks the server at path for verb and hands each item of the answer to
// each, in order. The error is the server's sentence or the reason why there
// is no answer.
func Call(ctx context.Context, path, verb string, args any, each func(Item) error) error {
	return Send(ctx, path, verb, args, nil, each)
}

// Send is Call for a verb that is given more than its arguments: what feed
// sends, which may be nil. When feed fails, so does the call.
func Send(ctx context.Context, path, verb string, args any, feed Feed, each func(Item) error) error {
	var d net.Dialer
	name, leave, err := reach(path)
	if err != nil {
		return fmt.Errorf("the running server cannot be reached: %w", err)
	}
	conn, err := d.DialContext(ctx, "unix", name)
	leave()
	if err != nil {
		return fmt.Errorf("the running server cannot be reached: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := ask(conn, verb, args, feed != nil); err != nil {
		return err
	}
	if feed == nil {
		return answers(ctx, conn, each)
	}
	fed := make(chan error, 1)
	go func() { fed <- send(conn, feed) }()
	err = answers(ctx, conn, each)
	conn.Close() // nobody listens to the rest
	if failed := <-fed; failed != nil && !errors.Is(failed, errUnheard) {
		return failed
	}
	return err
}

// answers hands each item of an answer to each.
func answers(ctx context.Context, conn net.Conn, each func(Item) error) error {
	a := &answer{r: bufio.NewReader(conn)}
	for {
		kind, content, err := a.next()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the server ended the call: %w", err)
		case kind == kindDone:
			return nil
		case kind == kindError:
			return errors.New(string(content))
		case kind != kindItem:
			return errFrame
		}
		body := &bodyReader{a: a}
		if err := each(Item{content, body}); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return err
		}
	}
}

func ask(conn net.Conn, verb string, args any, fed bool) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	content, err := json.Marshal(call{verb, raw, fed})
	if err != nil {
		return err
	}
	return writeFrame(conn, kindCall, content)
}

// answer reads frames, with one frame of looking ahead.
type answer struct {
	r       *bufio.Reader
	before  func() // is called before each frame; may be nil
	waiting bool
	kind    byte
	content []byte
}

func (a *answer) next() (byte, []byte, error) {
	if a.waiting {
		a.waiting = false
		return a.kind, a.content, nil
	}
	if a.before != nil {
		a.before()
	}
	return readFrame(a.r)
}

// bodyReader reads the body frames up to the next frame of another kind.
type bodyReader struct {
	a    *answer
	rest []byte
	end  bool
}

func (b *bodyReader) Read(p []byte) (int, error) {
	for len(b.rest) == 0 && !b.end {
		kind, content, err := b.a.next()
		if err != nil {
			return 0, err
		}
		if kind != kindBody {
			b.a.waiting, b.a.kind, b.a.content, b.end = true, kind, content, true
			if kind == kindError { // half a body must not pass for a whole one
				return 0, errors.New(string(content))
			}
			break
		}
		b.rest, b.end = content, len(content) == 0
	}
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}
