package guard

import (
	"context"
	"errors"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
)

// alertEvery is how often is looked for alerts that are to be sent. With the
// second that sign-ins take to be written it is well below a minute.
const alertEvery = 10 * time.Second

// byAlert is who handed over an alert, as operators see it (Envelope's
// Client).
const byAlert = "alert to an account"

// tell sends what is to be told. What cannot be sent is tried again.
func (g *Guard) tell(ctx context.Context) error {
	list, err := g.Book.Unsent(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		err = errors.Join(err, g.send(ctx, &list[i]))
	}
	return err
}

// send sends one alert by mail, to the account and to its recovery address.
// A crash before it is noted sends it again.
func (g *Guard) send(ctx context.Context, a *activity.Alert) error {
	to, err := addr.Parse(a.Event.Account)
	if err != nil {
		return err
	}
	id, err := message.NewMessageID(g.o.Random, g.o.Hostname)
	if err != nil {
		return err
	}
	e := &envelope.Envelope{Client: byAlert, UTF8: !to.IsASCII(), Recipients: []envelope.Recipient{{To: to}}}
	for _, also := range a.Also {
		if other, err := addr.Parse(also); err == nil {
			e.Recipients = append(e.Recipients, envelope.Recipient{To: other})
		}
	}
	l := &letter{a, addr.Address{Local: "postmaster", Domain: to.Domain}, to, id, g.o.Clock.Now()}
	if err := g.Submit(ctx, e, l.write); err != nil {
		return err
	}
	g.Alerts.Add(1)
	g.o.Log.Info("alert sent", "id", e.ID, "account", to.String(), "kind", string(a.Kind), "also", len(a.Also))
	return g.Book.Sent(ctx, a.ID)
}
