package spool

import (
	"crypto/rand"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"gatepost/internal/blob"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
)

// onDisk returns the options of a spool on the real file system.
func onDisk(b *testing.B) Options {
	dir := b.TempDir()
	blobs, err := blob.OpenDir(filepath.Join(dir, "blobs"))
	if err != nil {
		b.Fatal(err)
	}
	return Options{
		Dir: filepath.Join(dir, "spool"), FS: blob.OS, Blobs: blobs, Clock: clock.System, Random: rand.Reader,
		Log: slog.New(slog.DiscardHandler), SegmentSize: 16 << 20, Inline: 256 << 10, DraftBudget: 64 << 20, FreshBudget: 64 << 20,
	}
}

// BenchmarkCommit is a message of 4 KiB from its first octet to its end, with
// 64 sessions at once.
func BenchmarkCommit(b *testing.B) {
	s, _, err := Open(onDisk(b))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	body := []byte(strings.Repeat("0123456789abcde\n", 256))
	b.SetParallelism(64)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			e := letter(1)
			d := s.Create()
			if _, err := d.Write(body); err != nil {
				b.Error(err)
			}
			if err := d.Commit(e); err != nil {
				b.Error(err)
			}
			s.Change([]envelope.Change{{ID: e.ID, Status: envelope.Delivered}}, nil)
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(s.Counters.Messages.Load())/float64(s.Counters.Batches.Load()), "messages/batch")
}

// BenchmarkOpen is a start with ten thousand messages waiting.
func BenchmarkOpen(b *testing.B) {
	o := onDisk(b)
	s, _, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan bool)
	for range 64 {
		go func() {
			for range 10_000 / 64 {
				d := s.Create()
				if _, err := d.Write(make([]byte, 4096)); err != nil {
					b.Error(err)
				}
				if err := d.Commit(letter(1)); err != nil {
					b.Error(err)
				}
			}
			done <- true
		}()
	}
	for range 64 {
		<-done
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s, report, err := Open(o)
		if err != nil || report.Messages < 9000 {
			b.Fatal(err, report)
		}
		b.StopTimer()
		s.Close()
		b.StartTimer()
	}
}
