package clock

import (
	"context"
	"time"
)

// Repeat calls f at once, and again when every has passed since it returned,
// until ctx ends.
func Repeat(ctx context.Context, c Clock, every time.Duration, f func(context.Context)) {
	for ctx.Err() == nil {
		f(ctx)
		pause(ctx, c, every)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, c Clock, d time.Duration) {
	over := make(chan struct{})
	defer c.AfterFunc(d, func() { close(over) }).Stop()
	select {
	case <-over:
	case <-ctx.Done():
	}
}
