package guard

import (
	"gatepost/internal/activity"
	"gatepost/internal/store"
)

// AlertHook is the sink that alerts are posted to.
const AlertHook = "alerts"

// alertType begins the type of an event; the kind of the alert follows.
const alertType = "alert."

// told is the data of such an event. Its field names are a contract
// (docs/hooks.md).
type told struct {
	Account string             `json:"account"`
	Alert   activity.AlertKind `json:"alert"`
	Title   string             `json:"title"`
	Text    string             `json:"text"`          // what happened, in one sentence
	New     string             `json:"new,omitempty"` // what is not usual about it
	Last    bool               `json:"last"`          // no more of this sort are told today
	Event   activity.View      `json:"event"`
}

// queue puts an alert into the queue of its webhook, if there is one. The link
// that locks the account is not in it: it is for the owner.
func (g *Guard) queue(tx *store.Tx, a *activity.Alert) error {
	return g.Hooks.Add(tx, AlertHook, alertType+string(a.Kind), a.Event.Last, told{
		Account: a.Event.Account, Alert: a.Kind, Title: subject(a.Kind), Text: a.Event.Sentence(),
		New: a.Detail, Last: a.Last, Event: a.Event.View(),
	})
}
