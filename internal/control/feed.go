package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"time"
)

// feedTime is how long a command may take to send the next frame of what it
// gives: it may be reading from a slow disk.
const feedTime = 5 * time.Minute

// Feed gives items to a verb by sending each, with a body if there is one. An
// error of send ends it, and is returned.
type Feed func(send Emit) error

// Given returns the next item that was given to the verb which ctx is of; its
// body is valid until the next call. io.EOF says that there are no more.
type Given func() (Item, error)

type givenKey struct{}

// WithGiven returns a context for a verb with what is given to it.
func WithGiven(ctx context.Context, g Given) context.Context {
	return context.WithValue(ctx, givenKey{}, g)
}

// given returns what a verb was given.
func given(ctx context.Context) Given {
	if g, ok := ctx.Value(givenKey{}).(Given); ok {
		return g
	}
	return func() (Item, error) { return Item{}, io.EOF }
}

// Hand makes a Given of a Feed, in the same process. stop must be called; it
// returns the error of the feed.
func Hand(feed Feed) (g Given, stop func() error) {
	var failed error
	next, end := iter.Pull(func(yield func(Item) bool) {
		failed = feed(func(item any, body io.Reader) error {
			content, err := json.Marshal(item)
			if err != nil {
				return err
			}
			if body == nil {
				body = empty{}
			}
			if !yield(Item{content, body}) {
				return errUnheard
			}
			return nil
		})
	})
	g = func() (Item, error) {
		it, ok := next()
		switch {
		case ok:
			return it, nil
		case failed != nil:
			return Item{}, failed
		}
		return Item{}, io.EOF
	}
	return g, func() error {
		end()
		if errors.Is(failed, errUnheard) {
			return nil
		}
		return failed
	}
}

// empty is the body of an item that has none.
type empty struct{}

func (empty) Read([]byte) (int, error) { return 0, io.EOF }

// errUnheard says that the verb ended before all was given to it: why is in
// its answer.
var errUnheard = errors.New("the verb has ended")

// send writes what a feed gives.
func send(conn net.Conn, feed Feed) error {
	w := bufio.NewWriter(heard{conn})
	err := feed(func(item any, body io.Reader) error { return writeItem(w, item, body) })
	if err != nil {
		// What was whole is taken, and half a body is not.
		return errors.Join(err, writeFrame(w, kindError, []byte(err.Error())), w.Flush())
	}
	return errors.Join(writeFrame(w, kindDone, nil), w.Flush())
}

// heard tells that the other side went away from errors of the feed's own.
type heard struct{ net.Conn }

func (h heard) Write(p []byte) (int, error) {
	n, err := h.Conn.Write(p)
	if err != nil {
		err = fmt.Errorf("%w: %w", errUnheard, err)
	}
	return n, err
}

// given lets a verb read what follows the call. Before it waits, what it
// answered so far is sent.
func (s *Server) given(ctx context.Context, conn net.Conn, r *bufio.Reader, w *bufio.Writer) (context.Context, func() bool) {
	a := &answer{r: r}
	var last *bodyReader
	next := func() (Item, error) {
		if last != nil {
			if _, err := io.Copy(io.Discard, last); err != nil {
				return Item{}, ended(ctx, err)
			}
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return Item{}, err
			}
		}
		kind, content, err := a.next()
		switch {
		case err != nil:
			return Item{}, ended(ctx, err)
		case kind == kindError:
			return Item{}, errors.New(string(content))
		case kind == kindDone:
			return Item{}, io.EOF
		case kind != kindItem:
			return Item{}, errFrame
		}
		last = &bodyReader{a: a}
		return Item{content, last}, nil
	}
	// When the server stops it waits for nobody who still gives.
	give := func() { conn.SetReadDeadline(time.Unix(1, 0)) }
	a.before = func() {
		conn.SetReadDeadline(s.clock.Now().Add(feedTime))
		if ctx.Err() != nil {
			give()
		}
	}
	return WithGiven(ctx, next), context.AfterFunc(ctx, give)
}

// ended says why there is nothing more from a command.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("the server is stopping; run the same command again when it is up")
	}
	return fmt.Errorf("the command ended before it had sent everything: %w", err)
}
