package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/internal/clock"
)

func serve(t *testing.T, h Handler) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", maxSocketPath)) // longer than a socket's name may be
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	s, err := Listen(path, h, clock.System, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(context.Background())
	t.Cleanup(func() { s.Close() })
	return path
}

func TestCall(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789abcdef", 3*maxFrame/16)
	path := serve(t, func(_ context.Context, verb string, args json.RawMessage, emit Emit) error {
		var in struct{ N int }
		if err := json.Unmarshal(args, &in); err != nil || verb != "count" {
			return fmt.Errorf("unexpected call %s %s", verb, args)
		}
		for i := range in.N {
			var body io.Reader
			if i == 1 {
				body = strings.NewReader(large)
			}
			if err := emit(map[string]int{"i": i}, body); err != nil {
				return err
			}
		}
		if in.N == 4 {
			return errors.New("there is no fourth")
		}
		return nil
	})
	for _, n := range []int{0, 3, 4} {
		var got []string
		err := Call(t.Context(), path, "count", map[string]int{"n": n}, func(it Item) error {
			got = append(got, string(it.JSON))
			if len(got) == 2 && n == 3 { // with n = 4 the body is left unread
				b, err := io.ReadAll(it.Body)
				if err != nil || string(b) != large {
					t.Errorf("body of %d octets, %v", len(b), err)
				}
			}
			return nil
		})
		if len(got) != n || n > 0 && got[n-1] != fmt.Sprintf(`{"i":%d}`, n-1) {
			t.Errorf("n = %d: got %v", n, got)
		}
		if wantErr := n == 4; (err != nil) != wantErr || wantErr && err.Error() != "there is no fourth" {
			t.Errorf("n = %d: %v", n, err)
		}
	}
}

func TestSocketIsPrivate(t *testing.T) {
	t.Parallel()
	path := serve(t, nil)
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	err := Call(t.Context(), filepath.Join(t.TempDir(), "none"), "x", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Error(err)
	}
}

func TestLeftSocketIsReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Listen(path, nil, clock.System, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}
