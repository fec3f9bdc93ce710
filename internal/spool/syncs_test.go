package spool

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"gatepost/internal/blob/crashfs"
)

// mostHunted bounds the cases in which the explorer must find what a missing
// sync costs.
const mostHunted = 20000

// TestEverySyncIsNeeded leaves out the syncs of one place of the code at a
// time: the explorer must find a promise that is broken by it. It shows that
// no sync is idle, and that the explorer would miss none.
func TestEverySyncIsNeeded(t *testing.T) {
	t.Parallel()
	whole := &explorer{t: t, ways: 2, hunt: true, sites: map[string]bool{}}
	for n := 1; n < 600; n += 60 {
		if _, err := whole.stopAt(n); err != nil {
			t.Fatal(err)
		}
	}
	lines := map[string]bool{}
	for site := range whole.sites {
		line, _, _ := strings.Cut(site, " < ")
		lines[line] = true
	}
	text := map[string]string{}
	for _, dir := range []string{".", "segment", "recovery", "ledger", "wire", "../blob"} {
		for line, source := range crashfs.Syncs(t, dir) {
			text[line] = source
			if !lines[line] && !elsewhere[source] && !strings.HasPrefix(line, "blob/fs.go:") { // the system's own
				t.Errorf("the sync at %s is never reached", line)
			}
		}
	}
	for _, site := range slices.Sorted(maps.Keys(whole.sites)) {
		if line, _, _ := strings.Cut(site, " < "); elsewhere[text[line]] {
			continue
		}
		t.Run(strings.ReplaceAll(site, "/", ","), func(t *testing.T) {
			t.Parallel()
			hunt(t, site)
		})
	}
}

// elsewhere are the syncs that the tests of their own packages leave out.
var elsewhere = map[string]bool{
	// Of blob.Link: the spool does not link, the mailbox does.
	"if err := d.fs.SyncDir(shard); err != nil {": true,
	// Of Pool.Open: the spool makes its next segment before it frees one, and
	// so syncs the directory; only where that fails does it need this one.
	"if err := p.FS.SyncDir(p.Dir); err != nil {": true,
}

// hunt looks for a violation without the syncs of a site.
func hunt(t *testing.T, site string) {
	tried := 0
	for seed := uint64(100); tried < mostHunted; seed++ {
		x := &explorer{t: t, seed: seed, ways: 6, hunt: true, sites: map[string]bool{}, skip: site}
		for n, more := 1+int(seed)%13, true; more; n += 13 {
			var err error
			if more, err = x.stopAt(n); err != nil {
				t.Logf("after %d cases: %v", tried+x.tried, err)
				return
			}
		}
		tried += x.tried
	}
	t.Errorf("without the sync at %s nothing went wrong in %d cases", site, tried)
}
