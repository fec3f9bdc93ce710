package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// count answers each item that is given with the length of its body; at stop
// it ends.
func count(stop string) Handler {
	return func(ctx context.Context, _ string, _ json.RawMessage, emit Emit) error {
		next := given(ctx)
		for {
			it, err := next()
			if err == io.EOF {
				return emit("end", nil)
			}
			if err != nil {
				return err
			}
			if string(it.JSON) == `"`+stop+`"` {
				return errors.New("that is enough")
			}
			n := int64(0)
			if string(it.JSON) != `"unread"` {
				if n, err = io.Copy(io.Discard, it.Body); err != nil {
					return fmt.Errorf("body: %w", err)
				}
			}
			if err := emit(n, nil); err != nil {
				return err
			}
		}
	}
}

// A verb is given items, over the socket and in the same process alike.
func TestSend(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is broken")
	large := strings.Repeat("x", 3*maxFrame+1)
	for name, c := range map[string]struct {
		feed Feed
		want string
		err  string
	}{
		"nothing": {func(Emit) error { return nil }, `["end"]`, ""},
		"no feed": {nil, `["end"]`, ""},
		"items": {func(send Emit) error {
			return errors.Join(send("a", nil), send("b", strings.NewReader(large)), send("unread", strings.NewReader(large)), send("c", strings.NewReader("1")))
		}, fmt.Sprintf(`[0 %d 0 1 "end"]`, len(large)), ""},
		"it fails": {func(send Emit) error {
			return errors.Join(send("a", strings.NewReader("22")), broken)
		}, `[2]`, broken.Error()},
		"a body breaks off": {func(send Emit) error {
			if err := send("a", strings.NewReader("22")); err != nil {
				return err
			}
			return send("b", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)))
		}, `[2]`, broken.Error()},
		"the verb ends": {func(send Emit) error {
			for {
				if err := send("stop", strings.NewReader(large)); err != nil {
					return err
				}
			}
		}, `[]`, "that is enough"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check := func(how string, got []string, err error) {
				t.Helper()
				if fmt.Sprint(got) != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s: %s, %v; want %s, %s", how, got, err, c.want, c.err)
				}
			}
			path := serve(t, count("stop"))
			got := []string{}
			err := Send(t.Context(), path, "count", nil, c.feed, func(it Item) error {
				got = append(got, string(it.JSON))
				return nil
			})
			check("socket", got, err)

			ctx, got := t.Context(), []string{}
			stop := func() error { return nil }
			if c.feed != nil {
				var g Given
				g, stop = Hand(c.feed)
				ctx = WithGiven(ctx, g)
			}
			err = count("stop")(ctx, "count", nil, func(item any, _ io.Reader) error {
				b, err := json.Marshal(item)
				got = append(got, string(b))
				return err
			})
			if failed := stop(); failed != nil {
				err = failed
			}
			check("process", got, err)
		})
	}
}
