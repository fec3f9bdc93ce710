package control

import (
	"context"
	"fmt"

	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/queue"
)

// QueueList are the arguments of queue.list.
type QueueList struct {
	Failed bool   `json:"failed"` // what could not be delivered and may not be bounced
	Held   bool   `json:"held"`
	Domain string `json:"domain"` // only recipients in it, unless empty
}

// QueueDrop are the arguments of queue.drop; no recipients mean all.
type QueueDrop struct {
	ID         string   `json:"id"`
	Recipients []string `json:"recipients"`
}

// QueuedMessage is a message in the queue, with the hops of those of its
// recipients that have it already.
type QueuedMessage struct {
	queue.Message
	Hops []Hop `json:"hops,omitempty"`
}

// Count tells how many messages a verb was about.
type Count struct {
	Messages int `json:"messages"`
}

// all is what an operator writes for every message.
const all = "all"

func (d *Desk) listQueue(_ context.Context, a QueueList, emit Emit) error {
	f := queue.Filter{Failed: a.Failed, Held: a.Held}
	if a.Domain != "" {
		var err error
		if f.Domain, err = parseDomain(a.Domain); err != nil {
			return err
		}
	}
	for _, m := range d.Queue.List(f) {
		if err := emit(m, nil); err != nil {
			return err
		}
	}
	return nil
}

func (d *Desk) showQueued(ctx context.Context, a Name, emit Emit) error {
	id, err := parseID(a.Name)
	if err != nil {
		return err
	}
	m, err := d.Queue.Show(id)
	if err != nil {
		return fmt.Errorf("%s: %w", a.Name, err)
	}
	out, err := d.deliveries(ctx, id)
	if err != nil {
		return err
	}
	return emit(QueuedMessage{m, out}, nil)
}

// retryQueued takes a message, a domain or "all".
func (d *Desk) retryQueued(_ context.Context, a Name, emit Emit) error {
	if id, err := envelope.ParseID(a.Name); err == nil {
		return d.onMessage(a.Name, emit, d.Queue.Retry(id))
	}
	destination := ""
	if a.Name != all {
		domain, err := parseDomain(a.Name)
		if err != nil {
			return fmt.Errorf("%q is neither a message, a domain nor %q", a.Name, all)
		}
		destination = string(domain)
	}
	return emit(Count{d.Queue.RetryDestination(destination)}, nil)
}

func (d *Desk) holdQueued(_ context.Context, a Name, emit Emit) error {
	id, err := parseID(a.Name)
	if err != nil {
		return err
	}
	return d.onMessage(a.Name, emit, d.Queue.Hold(id))
}

// releaseQueued takes a message or "all".
func (d *Desk) releaseQueued(_ context.Context, a Name, emit Emit) error {
	if a.Name == all {
		return emit(Count{d.Queue.ReleaseAll()}, nil)
	}
	id, err := parseID(a.Name)
	if err != nil {
		return err
	}
	return d.onMessage(a.Name, emit, d.Queue.Release(id))
}

func (d *Desk) dropQueued(_ context.Context, a QueueDrop, emit Emit) error {
	id, err := parseID(a.ID)
	if err != nil {
		return err
	}
	var list []addr.Address
	if list, err = parseAddresses(a.Recipients); err != nil {
		return err
	}
	return d.onMessage(a.ID, emit, d.Queue.Drop(id, list...))
}

// onMessage tells what became of a verb about one message.
func (d *Desk) onMessage(id string, emit Emit, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	return emit(Count{1}, nil)
}

func parseID(s string) (envelope.ID, error) {
	id, err := envelope.ParseID(s)
	if err != nil {
		return id, fmt.Errorf("%q is %w", s, err)
	}
	return id, nil
}
