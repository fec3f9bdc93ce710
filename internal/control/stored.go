package control

import (
	"context"
	"io"

	"gatepost/internal/audit"
	"gatepost/internal/backup"
)

// Checked is an item of check.deep: a finding, or how far the check has come.
type Checked struct {
	Finding *audit.Finding `json:"finding,omitempty"`
	Done    int64          `json:"done,omitempty"`  // octets read
	Total   int64          `json:"total,omitempty"` // of so many
}

// Backup is an item of backup: first how much is to come, with the backup as
// its body, then its manifest.
type Backup struct {
	Octets   int64            `json:"octets,omitempty"`
	Manifest *backup.Manifest `json:"manifest,omitempty"`
}

// progressEvery is how many octets are read between two items that tell how
// far a check has come.
const progressEvery = 16 << 20

func (d *Desk) checkDeep(ctx context.Context, _ None, emit Emit) error {
	// When whoever asked does not listen any more, the check ends.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tell := func(c Checked) {
		if ctx.Err() == nil {
			if err := emit(c, nil); err != nil {
				cancel(err)
			}
		}
	}
	told := int64(0)
	err := d.Inspect.Check(ctx, func(done, total int64) {
		if done-told >= progressEvery {
			told = done
			tell(Checked{Done: done, Total: total})
		}
	}, func(f audit.Finding) { tell(Checked{Finding: &f}) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (d *Desk) makeBackup(ctx context.Context, _ None, emit Emit) error {
	job, err := d.Backup.Begin(ctx)
	if err != nil {
		return err
	}
	defer job.Close()
	r, w := io.Pipe()
	type result struct {
		m   *backup.Manifest
		err error
	}
	ended := make(chan result)
	go func() {
		m, err := job.Write(ctx, w)
		w.CloseWithError(err)
		ended <- result{m, err}
	}()
	err = emit(Backup{Octets: job.Octets()}, r)
	r.CloseWithError(err) // whoever asked is gone, or has all
	end := <-ended
	switch {
	case end.err != nil && err == nil:
		return end.err
	case err != nil:
		return err
	}
	return emit(Backup{Manifest: end.m}, nil)
}
