package queue

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"gatepost/internal/envelope"
)

// nullSpool forgets everything, so that only the queue is measured.
type nullSpool struct{ *fakeSpool }

func (nullSpool) Change([]envelope.Change, func()) {}
func (nullSpool) Release(envelope.ID)              {}
func (nullSpool) Body(envelope.ID) (*envelope.Body, error) {
	return envelope.MemoryBody(nil), nil
}

// nullDeliverer delivers everything at once, and counts.
type nullDeliverer struct{ done *sync.WaitGroup }

func (d nullDeliverer) Deliver(_ context.Context, a *envelope.Attempt) []envelope.Outcome {
	d.done.Done()
	return same(len(a.Recipients), envelope.Outcome{Status: envelope.Delivered})
}

// From offer to outcome: the queue's own share of a message.
func BenchmarkDeliver(b *testing.B) {
	for _, destinations := range []int{1, 1000} {
		b.Run(fmt.Sprintf("destinations=%d", destinations), func(b *testing.B) {
			w := newWorld(b)
			var done sync.WaitGroup
			w.o.Spool, w.o.Remote = nullSpool{w.spool}, nullDeliverer{&done}
			q := New(w.o)
			q.Start()
			list := make([]*envelope.Envelope, b.N)
			for i := range list {
				list[i] = mail(fmt.Sprintf("bob@d%d.example", i%destinations))
				list[i].ID, _ = envelope.NewID(time.Now(), w.o.Random)
			}
			done.Add(b.N)
			b.ReportAllocs()
			b.ResetTimer()
			for _, e := range list {
				q.Offer(e)
			}
			done.Wait()
			b.StopTimer()
			q.Stop(context.Background())
		})
	}
}

// Memory of a recipient that waits, beyond its envelope.
func TestMemory(t *testing.T) {
	for _, tt := range []struct{ messages, recipients, destinations, most int }{
		{50_000, 1, 1000, 230},
		{1000, 100, 10_000, 200},
	} {
		w := newWorld(t)
		w.o.Spool = nullSpool{w.spool}
		list := make([]*envelope.Envelope, tt.messages)
		for i := range list {
			var to []string
			for k := range tt.recipients {
				to = append(to, fmt.Sprintf("bob@d%d.example", (i*tt.recipients+k)%tt.destinations))
			}
			e := mail(to...)
			for k := range e.Recipients { // deferred: they have alarms, too
				e.Recipients[k].Status, e.Recipients[k].Attempts, e.Recipients[k].Next = envelope.Deferred, 1, time.Now().Add(time.Hour)
			}
			e.ID, _ = envelope.NewID(time.Now(), w.o.Random)
			list[i] = e
		}
		q := New(w.o)
		before := heap()
		for _, e := range list {
			q.Offer(e)
		}
		each := int(heap()-before) / (tt.messages * tt.recipients)
		t.Logf("%d messages of %d recipients at %d destinations: %d octets a recipient", tt.messages, tt.recipients, tt.destinations, each)
		if each > tt.most {
			t.Errorf("that is more than %d", tt.most)
		}
		runtime.KeepAlive(list)
		runtime.KeepAlive(q)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
