package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// What a look at the disk writes: as much as a busy spool writes at once, over
// what is there already.
const (
	syncSize  = 64 << 10 // octets
	syncs     = 2000
	syncSpace = 32 << 20 // octets
)

// bare returns what acknowledgements take at the least: the median and the
// 99th percentile, in ms, of writing and syncing in dir while nobody else
// does, and of the client's waits for its own sink, which syncs nothing.
func (b *bench) bare(dir string) (string, error) {
	f, err := os.Create(filepath.Join(dir, "syncs"))
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, syncSpace)); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	var took []float64
	block := make([]byte, syncSize)
	for i := range syncs {
		began := time.Now()
		if _, err := f.WriteAt(block, int64(i)*syncSize%syncSpace); err != nil {
			return "", err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return "", err
		}
		took = append(took, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(took)
	l, _, err := b.loadSink(hop, with(kept, "-msgs", b.n(20000)))
	return fmt.Sprintf("of that, p50 / p99 of the disk alone %.1f / %.1f ms a sync, of the client before its own sink %.1f / %.1f ms",
		took[syncs/2], took[syncs*99/100], l.Ack["p50"], l.Ack["p99"]), err
}
