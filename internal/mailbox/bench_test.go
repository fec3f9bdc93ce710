package mailbox

import (
	"testing"

	"gatepost/internal/envelope"
)

// BenchmarkFile files 4 KiB messages from 64 goroutines at once.
func BenchmarkFile(b *testing.B) {
	h := open(b)
	body := letter(4 << 10)
	b.SetParallelism(32) // of two processors
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			f := filing(b)
			f.Body = envelope.MemoryBody(body)
			if _, err := h.File(b.Context(), f); err != nil {
				b.Error(err)
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	if c := h.db.Counters.Commits.Load(); c > 0 {
		b.ReportMetric(float64(b.N)/float64(c), "msg/commit")
	}
}
