package guard

import (
	"context"
	"errors"
	"time"

	"gatepost/internal/activity"
	"gatepost/internal/addr"
	"gatepost/internal/envelope"
	"gatepost/internal/message"
	"gatepost/internal/store"
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

// send sends one alert: by mail to the account and to its recovery address,
// and to the webhook. A crash before it is noted sends the mail again.
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
	operator := addr.Address{Local: "postmaster", Domain: to.Domain}
	if a.Kind == activity.AccountFrozen && a.Event.Client.Protocol == activity.Web { // who alone can release it
		e.Recipients = append(e.Recipients, envelope.Recipient{To: operator})
	}
	token, err := g.link(ctx, a)
	if err != nil {
		return err
	}
	l := &letter{a, operator, to, id, g.o.Clock.Now(), ""}
	if token != "" {
		l.link = *g.url.Load() + token
	}
	if err := g.Submit(ctx, e, l.write); err != nil {
		if token != "" {
			err = errors.Join(err, g.Links.Drop(ctx, token))
		}
		return err
	}
	g.Alerts.Add(1)
	g.o.Log.Info("alert sent", "id", e.ID, "account", to.String(), "kind", string(a.Kind), "also", len(a.Also))
	err = g.o.Store.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(g.Book.Sent(tx, a.ID), g.queue(tx, a))
	})
	g.Hooks.Wake(AlertHook)
	return err
}

// link makes a link that locks the account; empty where there is nothing to
// lock, or no door that it could lead to.
func (g *Guard) link(ctx context.Context, a *activity.Alert) (token string, err error) {
	if *g.url.Load() == "" || a.Kind == activity.AccountFrozen {
		return "", nil
	}
	return g.Links.New(ctx, a.Event.Owner)
}
