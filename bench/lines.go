package main

import (
	"fmt"
	"time"
)

// figures are what one server did on one line. Those that a line does not
// measure stay zero.
type figures struct {
	rate   float64       // in the line's unit
	relay  float64       // end to end, in the line's unit
	p50    float64       // of acknowledgements, ms
	p99    float64       // of acknowledgements, ms
	lag    float64       // seconds from the last acknowledgement to the last delivery
	cpu    time.Duration // of the server, per 1,000 messages
	others time.Duration // of client and sink, per 1,000 messages
	peak   int           // KiB, the most that was resident
	note   string
}

// line is one row of the table.
type line struct {
	name    string
	unit    string
	needs   needs
	alone   bool // there is nothing to compare with
	fine    bool // the result is small
	measure func(*bench, server) (figures, error)
	limit   func(*bench) (float64, error) // of the client alone; nil: none

	overPostfix float64 // the goal: how many times as fast
	ofLimit     float64 // the goal: which part of the limit
}

// lines are the rows in their order.
var lines = []line{
	{
		name: "accept, kept sessions, next hop dead", unit: "msg/s",
		measure: accept, limit: againstSink(20000, kept...), overPostfix: 12, ofLimit: 0.5,
	},
	{
		name: "accept while relaying, kept sessions", unit: "msg/s",
		measure: relay(12000, kept...), limit: againstSink(20000, kept...), overPostfix: 10, ofLimit: 0.3,
	},
	{
		name: "accept while relaying, one message a connection", unit: "msg/s",
		measure: relay(6000, single...), limit: againstSink(8000, single...), overPostfix: 5, ofLimit: 0.5,
	},
	{
		name: "local delivery into 50 mailboxes", unit: "msg/s", needs: needs{accounts: 50},
		measure: deliver, limit: againstSink(20000, kept...), overPostfix: 5, ofLimit: 0.25,
	},
	{
		name: "messages of 10 MiB, end to end", unit: "MB/s",
		measure: large, limit: largeAgainstSink, overPostfix: 2,
	},
	{
		name: "STARTTLS on submission, not resumed", unit: "msg/s", needs: needs{accounts: 1},
		measure: submit(3000, false), overPostfix: 2.5,
	},
	{
		name: "STARTTLS on submission, resumed", unit: "msg/s", needs: needs{accounts: 1},
		measure: submit(3000, true), overPostfix: 2.5,
	},
	{
		name: "AUTH PLAIN a connection, one account", unit: "msg/s", needs: needs{accounts: 1},
		measure: signIn, overPostfix: 2.5,
	},
	{
		name: "AUTH PLAIN, distinct accounts, cold", unit: "sign-ins/s", needs: needs{accounts: 50}, alone: true,
		measure: cold, limit: rawHashes, ofLimit: 0.9,
	},
	{
		// The limit is the same without any policy.
		name: "accept and relay over TLS, under DANE and MTA-STS", unit: "msg/s", alone: true, needs: needs{guarded: true},
		measure: underPolicy, limit: overTLS, ofLimit: 0.9,
	},
	{
		name: "verify, sign and relay", unit: "msg/s", needs: needs{signed: true, forwards: true},
		measure: forwards, overPostfix: 5,
	},
	{
		name: "sign and relay", unit: "msg/s", needs: needs{signed: true},
		measure: signs, overPostfix: 5,
	},
	{
		name: "idle connection", unit: "KiB", alone: true, fine: true, measure: idle(),
	},
	{
		name: "idle connection, TLS", unit: "KiB", alone: true, fine: true, measure: idle("-starttls"),
	},
	{
		name: "start with 100,000 messages queued", unit: "s", alone: true, fine: true, measure: restart,
	},
	{
		name: "10,000 × 100 recipients at 10,000 destinations", unit: "recipients/s", alone: true,
		needs: needs{world: true}, measure: manyDestinations,
	},
}

// kept and single are how the client uses its 50 connections.
var (
	kept   = []string{"-conns", "50", "-per-conn", "0", "-size", "4096"}
	single = []string{"-conns", "50", "-per-conn", "1", "-size", "4096", "-spread"}
)

// with appends to a list of arguments without changing it.
func with(args []string, more ...any) []string {
	list := append([]string(nil), args...)
	for _, m := range more {
		list = append(list, fmt.Sprint(m))
	}
	return list
}

// slower is how many fewer messages Postfix gets, so that a line takes it
// about as long.
const slower = 8

func (b *bench) messages(s server, n int) int {
	if s.name() == "postfix" {
		n /= slower
	}
	return b.n(n)
}

// againstSink is what the client can do when nothing is between it and its
// sink.
func againstSink(n int, args ...string) func(*bench) (float64, error) {
	return func(b *bench) (float64, error) {
		l, _, err := b.loadSink(hop, with(args, "-msgs", b.n(n)))
		return l.Rate, err
	}
}

// loadSink sends through a server to a sink, or to the sink itself.
func (b *bench) loadSink(addr string, args []string) (l load, t taken, err error) {
	s, err := b.sink(0)
	if err != nil {
		return l, t, err
	}
	l, err = b.load(with(args, "-addr", addr)...)
	t, e := s.stop()
	if err == nil {
		err = e
	}
	return l, t, err
}

// accept measures how fast mail is taken while nothing can be passed on.
func accept(b *bench, s server) (f figures, err error) {
	n := b.messages(s, 30000)
	note := ""
	if g, ok := s.(*gatepost); ok {
		if note, err = b.bare(g.dir); err != nil {
			return f, err
		}
	}
	before := cpu(s.pid())
	l, err := b.load(with(kept, "-addr", s.at(25), "-msgs", n)...)
	f = figures{note: note, rate: l.Rate, p50: l.Ack["p50"], p99: l.Ack["p99"], peak: memory(s.pid(), "VmHWM")}
	f.cpu, f.others = per1000(cpu(s.pid())-before, n), per1000(l.cpu, n)
	return f, err
}

// relay measures mail that is taken and passed on at the same time.
func relay(messages int, args ...string) func(*bench, server) (figures, error) {
	return func(b *bench, s server) (f figures, err error) {
		n := b.messages(s, messages)
		sink, err := b.sink(n)
		if err != nil {
			return f, err
		}
		before := cpu(s.pid())
		l, err := b.load(with(args, "-addr", s.at(25), "-msgs", n)...)
		if err != nil {
			sink.stop()
			return f, err
		}
		acked := l.began.Add(time.Duration(l.Seconds * float64(time.Second)))
		t, err := sink.wait()
		last := time.UnixMilli(int64(t.Last * 1000))
		f = figures{rate: l.Rate, p50: l.Ack["p50"], p99: l.Ack["p99"], lag: last.Sub(acked).Seconds(), peak: memory(s.pid(), "VmHWM")}
		f.relay = float64(n) / last.Sub(l.began).Seconds()
		f.cpu, f.others = per1000(cpu(s.pid())-before, n), per1000(l.cpu+t.cpu, n)
		return f, err
	}
}

// deliver measures mail that is filed into 50 mailboxes: from the first
// octet to the last message filed.
func deliver(b *bench, s server) (f figures, err error) {
	n := b.messages(s, 16000)
	began, before := time.Now(), cpu(s.pid())
	l, err := b.load(with(kept, "-addr", s.at(25), "-msgs", n, "-to", "user{c}@local.test")...)
	if err != nil {
		return f, err
	}
	var have int
	err = await("delivery", func() bool {
		time.Sleep(20 * time.Millisecond)
		have, err = s.delivered()
		return err != nil || have >= n
	})
	f = figures{rate: float64(n) / time.Since(began).Seconds(), p50: l.Ack["p50"], p99: l.Ack["p99"]}
	f.cpu, f.others = per1000(cpu(s.pid())-before, n), per1000(l.cpu, n)
	return f, err
}

var big = []string{"-conns", "4", "-per-conn", "0", "-size", "10485760"}

func large(b *bench, s server) (f figures, err error) {
	n := b.n(60)
	sink, err := b.sink(n)
	if err != nil {
		return f, err
	}
	l, err := b.load(with(big, "-addr", s.at(25), "-msgs", n)...)
	if err != nil {
		sink.stop()
		return f, err
	}
	t, err := sink.wait()
	took := time.UnixMilli(int64(t.Last * 1000)).Sub(l.began).Seconds()
	return figures{rate: float64(n) * 10.485760 / took, relay: l.MB, peak: memory(s.pid(), "VmHWM")}, err
}

func largeAgainstSink(b *bench) (float64, error) {
	l, _, err := b.loadSink(hop, with(big, "-msgs", b.n(60)))
	return l.MB, err
}
