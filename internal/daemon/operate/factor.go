package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"gatepost/internal/audit"
	"gatepost/internal/config"
	"gatepost/internal/control"
)

// checkPasskeys tells of passkeys that were made for another host name: a
// browser does not show them at ours.
func checkPasskeys(ctx context.Context, cfg *config.Config, op *Operator) (list []audit.Finding, err error) {
	sites := map[string]int{}
	err = op.Do(ctx, "factor.sites", control.None{}, func(it control.Item) error {
		var s control.PasskeySite
		err := json.Unmarshal(it.JSON, &s)
		sites[s.Host] = s.Accounts
		return err
	})
	return orphaned(cfg, sites), err
}

// orphaned tells of the passkeys that were made for other hosts than ours.
func orphaned(cfg *config.Config, sites map[string]int) (list []audit.Finding) {
	for _, host := range slices.Sorted(maps.Keys(sites)) {
		if host == cfg.Hostname {
			continue
		}
		people := "1 account"
		if n := sites[host]; n > 1 {
			people = fmt.Sprintf("%d accounts", n)
		}
		list = append(list, audit.Finding{Check: "passkeys", Level: audit.Warning,
			Text: fmt.Sprintf("The passkeys of %s were made for %s, and open nothing at %s.", people, host, cfg.Hostname),
			Fix: fmt.Sprintf("Set hostname back to %s; or let each of them sign in with an app or a recovery code and add a new passkey. Whoever has neither: gatepost account factor remove ADDRESS --all.",
				host)})
	}
	return list
}
