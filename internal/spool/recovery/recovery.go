// Package recovery reads the spool's log at the start: it tells what a crash
// cut short from what has decayed, salvages, and rebuilds the ledger. The
// package comment of spool states the rules.
package recovery

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"gatepost/internal/blob"
	"gatepost/internal/envelope"
	"gatepost/internal/spool/ledger"
	"gatepost/internal/spool/segment"
	"gatepost/internal/spool/wire"
)

// Report says what was found at the start.
type Report struct {
	Messages int           // that are not done
	Segments int           // that were read
	Scanned  int           // of them without an index, which takes longer
	Torn     int           // batches that a crash cut short: nothing in them was acknowledged, what is whole was kept
	Orphans  int           // blobs that belong to no message
	Took     time.Duration // for all of it
	// Findings says, a sentence each, what was lost or may be. It is empty
	// after any crash of a machine whose disk keeps what it has synced.
	Findings []string
}

func (r *Report) find(format string, args ...any) {
	r.Findings = append(r.Findings, fmt.Sprintf(format, args...))
}

// State is where the spool goes on.
type State struct {
	Ledger  *ledger.Ledger
	Seq     uint64    // the highest that was ever used
	Durable wire.Mark // what is durable for certain
	// Blind says that a part of the log cannot be read, or not be made
	// durable, at the moment: there may be messages that are not in the
	// ledger, and changes of those that are; or some that a crash undoes.
	Blind bool
}

// Read reads the log. What is damaged is in the report; an error says that
// nothing could be read.
func Read(pool *segment.Pool, blobs blob.Store, log *slog.Logger) (*State, *Report, error) {
	r := &recovery{
		State: State{Ledger: ledger.New()}, pool: pool, blobs: blobs, log: log,
		report: &Report{}, durable: map[uint64]uint64{},
	}
	if err := r.run(); err != nil {
		for _, g := range r.Ledger.Segments {
			_ = g.Close()
		}
		pool.Close()
		return nil, nil, err
	}
	return &r.State, r.report, nil
}

type recovery struct {
	State
	pool     *segment.Pool
	blobs    blob.Store
	log      *slog.Logger
	report   *Report
	readings []*segment.Reading // by generation
	durable  map[uint64]uint64  // by generation: the last sequence that some batch says was durable there
}

func (r *recovery) run() (err error) {
	l := r.Ledger
	if l.Segments, err = r.pool.Open(); err != nil {
		return err
	}
	for _, g := range l.Segments {
		r.read(g)
	}
	r.judge()
	r.eachFound(wire.Void, l.Declare)
	r.eachFound(0, r.replay)
	l.Replayed()
	l.Trash = nil // match looks for all that belongs to nobody
	r.report.Messages = len(l.Entries)
	r.finish()
	return r.match()
}

// read reads one segment.
func (r *recovery) read(g *segment.Segment) {
	g.Full, g.Sealed = true, true
	rd := segment.Read(g)
	r.readings = append(r.readings, rd)
	r.report.Findings = append(r.report.Findings, rd.Findings...)
	if !rd.Empty() {
		r.report.Segments++
		if !rd.Indexed {
			r.report.Scanned++
		}
	}
}

// judge tells torn tails from corruption: what some batch says was durable
// cannot have been torn.
func (r *recovery) judge() {
	for _, rd := range r.readings {
		for _, m := range rd.Marks {
			r.durable[m.Gen] = max(r.durable[m.Gen], m.Seq)
			r.Seq = max(r.Seq, m.Seq)
		}
		r.Seq = max(r.Seq, rd.Last)
	}
	for _, rd := range r.readings {
		g, durable := rd.Segment, r.durable[rd.Segment.Gen]
		for _, t := range rd.Trouble {
			if t.Seq > durable {
				r.report.Torn++
				continue
			}
			g.Damaged = true
			r.report.find("%s: %s", g.Path, t.Text)
		}
		if rd.Last < durable && !g.Stuck {
			g.Damaged = true
			r.report.find("%s: records %d to %d were durable and are gone", g.Path, rd.Last+1, durable)
		}
		// A message in a torn batch is whole or it never was.
		rd.Found = slices.DeleteFunc(rd.Found, func(f wire.Found) bool { return f.Damaged && f.Seq > durable })
		if rd.Sound > 0 && !g.Bad {
			r.Durable = wire.Mark{Seq: rd.Sound, Gen: g.Gen}
		}
	}
}

// eachFound calls f with all records of a kind, 0 for all, in the order of
// the log.
func (r *recovery) eachFound(kind byte, f func(*segment.Segment, wire.Found)) {
	for _, rd := range r.readings {
		for _, found := range rd.Found {
			if kind == 0 || kind == found.Kind {
				f(rd.Segment, found)
			}
		}
	}
}

func (r *recovery) replay(g *segment.Segment, f wire.Found) {
	l := r.Ledger
	if l.IsVoid(g, f) {
		return
	}
	if !l.Replay(g, f) {
		g.Damaged = true
		r.report.find("%s: the record at offset %d is intact but makes no sense", g.Path, f.Off)
	}
	if f.Damaged {
		r.report.find("%s: the content of the message at offset %d is damaged", g.Path, f.Off)
	}
}

// finish seals the segments that a crash left open, so that the next start
// is fast, and keeps those that were never used for the next ones.
func (r *recovery) finish() {
	for _, rd := range r.readings {
		g := rd.Segment
		r.Blind = r.Blind || g.Stuck || g.Bad
		switch {
		case g.Stuck || rd.Indexed:
		case rd.Empty():
			r.Ledger.Remove(g)
			r.pool.Put(g)
		default:
			err := rd.Seal(func(f wire.Found) bool { return r.Ledger.IsVoid(g, f) })
			if err != nil {
				r.log.Warn("a segment has no index; the next start takes longer", "file", g.Path, "err", err)
			}
		}
		rd.Found = nil
	}
	if n := r.pool.Aside(); n > 0 {
		r.report.find("%d damaged files are set aside in %s; take them away once they are not needed any more", n, r.pool.Dir)
	}
	if !r.Blind {
		return
	}
	// What cannot be read may explain the rest, or be explained by it: that a
	// message is done, or has moved. So all stays as it is until another start
	// can read it, or somebody takes it away.
	for _, g := range r.Ledger.Segments {
		g.Stuck = true
	}
}

// match compares the blobs with the messages: it removes those that belong
// to none, and finds those that are missing. Where anything was lost, the
// blob of a lost message may be all that is left of it, and stays.
func (r *recovery) match() error {
	l, report := r.Ledger, r.report
	there := map[envelope.ID]bool{}
	err := r.blobs.Each(func(name string) error {
		id, err := envelope.ParseID(name)
		if err != nil {
			return nil // not ours
		}
		if e := l.Entries[id]; e != nil && e.Body.Blob {
			there[id] = true
			return nil
		}
		report.Orphans++
		if len(report.Findings) > 0 {
			return nil
		}
		return r.blobs.Remove(name)
	})
	if err != nil {
		return err
	}
	if report.Orphans > 0 && len(report.Findings) > 0 {
		report.find("%d files with content belong to no message; they are kept, since something was lost", report.Orphans)
	}
	l.Each(func(e *ledger.Entry) bool {
		if id := e.Envelope.ID; e.Body.Blob && !there[id] {
			report.find("the file with the content of message %v is missing", id)
		}
		return true
	})
	return nil
}

// Log tells the operator.
func (r *Report) Log(log *slog.Logger) {
	log.Info("spool read", "messages", r.Messages, "segments", r.Segments, "scanned", r.Scanned,
		"torn", r.Torn, "orphans", r.Orphans, "took", r.Took)
	for _, f := range r.Findings {
		log.Error("the spool is damaged", "finding", f)
	}
}
