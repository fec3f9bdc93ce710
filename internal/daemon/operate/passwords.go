package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"gatepost/internal/audit"
	"gatepost/internal/clock"
	"gatepost/internal/config"
	"gatepost/internal/control"
	"gatepost/internal/daemon/datadir"
	"gatepost/internal/daemon/settings"
	"gatepost/internal/passwords"
)

// LoadBreached makes the operator's list of breached passwords, which a
// running server looks into from then on.
func LoadBreached(cfg *config.Config, from string, in io.Reader, progress func(done, total int64)) (passwords.ListInfo, error) {
	if err := datadir.Prepare(cfg.DataDir()); err != nil {
		return passwords.ListInfo{}, err
	}
	return settings.Passwords(cfg).Load(from, in, clock.System.Now(), progress)
}

// runsOutSoon is how long before a password runs out a check tells of it.
const runsOutSoon = 14 * 24 * time.Hour

// checkLists tells whether passwords can be set; whole reads the operator's
// list of breached ones to its end.
func checkLists(cfg *config.Config, whole bool) []audit.Finding {
	if _, _, err := settings.Passwords(cfg).Lists(whole); err != nil {
		return []audit.Finding{{Check: "passwords", Level: audit.Failure, Text: "No password can be set: " + err.Error() + ".",
			Fix: "Load the list again, or remove it: gatepost account breached."}}
	}
	return nil
}

// checkRunsOut tells which passwords run out: only an operator can set them,
// so it is the operator who must know in time.
func checkRunsOut(ctx context.Context, op *Operator) (list []audit.Finding, err error) {
	soon := clock.System.Now().Add(runsOutSoon)
	err = op.Do(ctx, "account.list", control.None{}, func(it control.Item) error {
		var a control.AccountInfo
		if err := json.Unmarshal(it.JSON, &a); err != nil || a.Password == nil || a.Password.RunsOut == nil {
			return err
		}
		if at := *a.Password.RunsOut; at.Before(soon) {
			verb := "runs out"
			if a.Password.Old {
				verb = "ran out"
			}
			list = append(list, audit.Finding{Check: "passwords", Level: audit.Warning,
				Text: fmt.Sprintf("The password of %s %s on %s; from then on it opens nothing.", a.Address, verb, at.Format(time.DateOnly)),
				Fix:  "Set a new one with: gatepost account password " + a.Address})
		}
		return nil
	})
	return list, err
}
