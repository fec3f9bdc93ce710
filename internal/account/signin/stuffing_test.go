package signin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatepost/internal/account/sasl"
	"gatepost/internal/account/secret"
	"gatepost/internal/account/turn"
	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/clock"
	"gatepost/internal/envelope"
)

// forgetful keeps nothing of what is told, by many at once.
func forgetful(*activity.Event) {}

// crowd are networks that guess at one account's password all at once, with
// the real cost of hashing and the real clock, until stop.
type crowd struct {
	*desk
	all     sync.WaitGroup
	ctx     context.Context
	stop    func()
	guesses atomic.Int64
}

func newCrowd(t *testing.T, networks int) *crowd {
	t.Helper()
	d := newDesk(t, func(o *Options) { o.Clock, o.Cost, o.Tried = clock.System, secret.Argon2id, forgetful })
	d.add(address, password)
	c := &crowd{desk: d}
	c.ctx, c.stop = context.WithCancel(context.Background())
	t.Cleanup(func() { c.stop(); c.all.Wait() })
	for i := range networks {
		c.all.Go(func() {
			from := d.peer(fmt.Sprintf("10.%d.%d.1", i/250, i%250))
			for c.ctx.Err() == nil {
				c.guesses.Add(1)
				c.try(from, fmt.Sprint("guess", i))
			}
		})
	}
	return c
}

// try signs in by PLAIN.
func (c *crowd) try(from *envelope.Peer, password string) error {
	x, err := c.Start(sasl.Plain, from)
	if err != nil {
		return err
	}
	_, _, err = x.Next(c.ctx, []byte("\x00"+address+"\x00"+password))
	return err
}

// begun waits until so many hashes were made.
func (c *crowd) begun(hashes int64) {
	for start := c.hashes.Load(); c.hashes.Load() < start+hashes; {
		time.Sleep(time.Millisecond)
	}
}

// While 200 networks guess, the owner signs in from a known place: no other
// hash stands between, however many wait. What is counted is hashes, since
// time depends on the machine; test.TestStuffing holds the time.
func TestOwnerBesideStuffing(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 200)
	home := c.peer("198.51.100.7")
	c.Recall(c.people[addr.MustParse(address)].ID, home.Addr.Addr(), "")
	c.begun(3)
	before, began := c.hashes.Load(), time.Now()
	if err := c.try(home, password); err != nil {
		t.Fatalf("the owner, at home: %v", err)
	}
	// Two strangers hash at a time, beside the owner: each of them may end
	// and be followed a few times while the owner's hash runs.
	if n := c.hashes.Load() - before; n > 12 {
		t.Errorf("%d hashes were begun meanwhile", n)
	}
	t.Logf("the owner, at home: %v, %d guesses so far", time.Since(began), c.guesses.Load())
}

// One network that opens many connections takes none of the others' turns,
// and who finds no room is told to come back.
func TestOneNetworkCannotFillTheLine(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(o *Options) { o.HashRuns, o.Tried = 1, forgetful })
	d.add(address, password)
	lines := turn.New(d.clock, 1)
	d.hasher = secret.NewHasher(secret.Cost{Time: 1, Memory: 64, Lanes: 1}, lines, d.o.Random, &d.hashes)
	done, err := lines.Enter(context.Background(), turn.Who{}) // the place is taken
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{desk: d, ctx: context.Background()}
	answers := make(chan error, 300)
	for range 300 {
		go func() { answers <- c.try(d.peer("192.0.2.1"), "guess") }()
	}
	busy := 0
	for range 300 - 128 {
		var e *envelope.Error
		if err := <-answers; errors.As(err, &e) && e.Code == 454 {
			busy++
		}
	}
	if busy != 300-128 {
		t.Errorf("%d were told to come back", busy)
	}
	owner := make(chan error, 1)
	go func() { owner <- c.try(d.peer("198.51.100.7"), password) }()
	if err := <-answers; errors.As(err, new(*envelope.Error)) {
		done()
	} else {
		t.Errorf("nobody made room: %v", err)
	}
	if err := <-owner; err != nil {
		t.Errorf("the owner: %v", err)
	}
}

// A device password cannot be guessed, so that its owner is never slowed and
// never waits for a hash, wherever the others guess from.
func TestDeviceIsNeverSlowed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(o *Options) { o.HashRuns = 0 }) // no place to hash in
	p := d.add(address, "")
	device := d.addDevice(p)
	for range 100 {
		for _, ip := range []string{"192.0.2.1", "198.51.100.7"} {
			x, _ := d.Start(sasl.Plain, d.peer(ip))
			x.claim = claim{address: p.Address, person: p}
			d.throttle.Failed(x.attempt())
		}
	}
	for mechanism, c := range d.clients(address, device) {
		if got, err := d.run(mechanism, c, d.peer("192.0.2.1"), true); got != address {
			t.Errorf("%s beside the attacker: %v", mechanism, err)
		}
	}
}
