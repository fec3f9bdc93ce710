package settings

import (
	"fmt"
	"slices"

	"gatepost/internal/account"
	"gatepost/internal/config"
)

// FactorRoles returns the roles that must have a second factor.
func FactorRoles(cfg *config.Config) []account.Role {
	var list []account.Role
	for _, r := range cfg.Factor.Required {
		list = append(list, account.Role(r))
	}
	return list
}

// Origins returns where our pages are, as a browser sees it: at the host name,
// with the ports of the https doors, and with none, since one may be reached
// through another.
func Origins(cfg *config.Config) []string {
	list := []string{"https://" + cfg.Hostname}
	for _, a := range cfg.Listen.HTTPS {
		if port := WebPort([]string{a}, httpsPort); port != httpsPort {
			list = append(list, fmt.Sprintf("https://%s:%d", cfg.Hostname, port))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

const httpsPort = 443
