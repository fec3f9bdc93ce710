package daemon

import (
	"context"
	"log/slog"
	"sync/atomic"

	"gatepost/internal/account"
	"gatepost/internal/addr"
	"gatepost/internal/config"
	"gatepost/internal/envelope"
	"gatepost/internal/remote"
)

// routePrefix begins a destination that is a route: see envelope.Attempt.
const routePrefix = "route:"

// router tells the queue where a domain's mail goes: home, over a route of
// the configuration, or to the domain itself. Its routes can be replaced
// while it is asked.
type router struct {
	directory *account.Directory
	hostname  addr.Domain
	log       *slog.Logger
	routes    atomic.Pointer[map[string]string] // domain or "*" to destination
}

// setRoutes takes the routes of a configuration.
func (r *router) setRoutes(list []config.Route) {
	m := map[string]string{}
	for _, route := range list {
		m[route.Domain] = routePrefix + routeName(route)
	}
	r.routes.Store(&m)
}

// routeName names a route by all that it does: domains that share a smarthost
// share its connections.
func routeName(r config.Route) string {
	name := r.Via + " " + r.TLS
	for _, more := range []string{r.TLSName, r.User} {
		if more != "" {
			name += " " + more
		}
	}
	return name
}

// Route returns the destination of a domain. When the store cannot say
// whether it is ours, it is: local delivery will fail for now and be tried
// again, while another server would refuse our own mail for good.
func (r *router) Route(d addr.Domain) (destination string, local bool) {
	ours, err := r.directory.IsLocal(context.Background(), d)
	if err != nil {
		r.log.Error("cannot tell whether a domain is ours", "domain", string(d), "error", err)
	}
	if ours || err != nil || d == r.hostname {
		return string(d), true
	}
	routes := *r.routes.Load()
	if name, ok := routes[string(d)]; ok {
		return name, false
	}
	if name, ok := routes["*"]; ok {
		return name, false
	}
	return string(d), false
}

// deliverer is a deliverer that can be replaced while it works: attempts that
// have begun end with the old one.
type deliverer struct {
	now atomic.Pointer[remote.Sender]
}

func (d *deliverer) Deliver(ctx context.Context, a *envelope.Attempt) []envelope.Outcome {
	return d.now.Load().Deliver(ctx, a)
}
