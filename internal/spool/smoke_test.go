package spool

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"gatepost/internal/addr"
	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
)

func opts(t testing.TB) Options {
	dir := t.TempDir()
	b, err := blob.OpenDir(dir + "/blob")
	if err != nil {
		t.Fatal(err)
	}
	return Options{Dir: dir + "/spool", FS: blob.OS, Blobs: b, Clock: clock.System, Random: rand.Reader, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), SegmentSize: 1 << 20, Inline: 64 << 10, DraftBudget: 64 << 20, FreshBudget: 4 << 20}
}

func TestSmoke(t *testing.T) {
	o := opts(t)
	s, rep, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", rep)
	var ids []envelope.ID
	for i := range 3000 {
		d := s.Create()
		body := bytes.Repeat([]byte(fmt.Sprintf("line %d\r\n", i)), 100+i)
		d.Write(body)
		e := &envelope.Envelope{From: addr.MustParse("a@example.org"), Header: []byte("Received: x\r\n"), Recipients: []envelope.Recipient{{To: addr.MustParse("b@example.com")}}}
		if err := d.Commit(e); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, e.ID)
		if i%10 != 0 {
			s.Change([]envelope.Change{{ID: e.ID, Status: envelope.Delivered}}, nil)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d %d %d live %d moved %d spilled %d reclaimed", s.l.Live, s.Counters.Disk.Load(), s.Counters.Live.Load(), s.Counters.Moved.Load(), s.Counters.Spilled.Load(), s.Counters.Reclaimed.Load())
	s, rep, err = Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", rep)
	n := 0
	s.Serve(func(e *envelope.Envelope) {
		b, err := s.Body(e.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(b.Reader())
		b.Close()
		if int64(len(got)) != e.Size-int64(len(e.Header)) {
			t.Error("size")
		}
		n++
	})
	if n != 300 {
		t.Errorf("%d", n)
	}
	s.Close()
	_ = time.Now
}
