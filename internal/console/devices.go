package console

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/console/api"
	"gatepost/internal/console/page"
)

// devicesView is the page of devices.
type devicesView struct {
	Done, Problem string
	Fresh         bool
	ConfirmURL    string
	Devices       []api.Device
	Typed         typed
}

// Ends are the ends of a password that the form offers, by days.
func (devicesView) Ends() [][2]string {
	return [][2]string{{"30", "After a month"}, {"90", "After three months"}, {"365", "After a year"}}
}

// typed is what a form says of a new device.
type typed struct {
	Name, Scope, Days, Networks string
}

func typedIn(r *http.Request) typed {
	return typed{r.FormValue("name"), r.FormValue("scope"), r.FormValue("days"), r.FormValue("networks")}
}

// maxDays bounds after how long a password may end that is to end.
const maxDays = 3650

// expiry reads after how many days a password ends; empty: never.
func (c *Console) expiry(days string) (time.Time, error) {
	if days == "" {
		return time.Time{}, nil
	}
	n, err := strconv.Atoi(days)
	if err != nil || n < 1 || n > maxDays {
		return time.Time{}, errors.New("choose after how many days it ends")
	}
	return c.o.Clock.Now().AddDate(0, 0, n), nil
}

func (c *Console) devicesPage(w http.ResponseWriter, r *http.Request) {
	c.devices(w, r, http.StatusOK, "")
}

func (c *Console) devices(w http.ResponseWriter, r *http.Request, status int, problem string) {
	v := who(r)
	list, err := c.o.Directory.Devices(r.Context(), v.account.Address)
	if err != nil {
		c.failed(w, r, err)
		return
	}
	c.show(w, r, status, "Devices", "devices", devicesView{
		Done: page.Done(r.FormValue("done")), Problem: problem, Fresh: v.fresh, ConfirmURL: c.ConfirmURL("/devices"), Devices: api.DevicesOf(list), Typed: typedIn(r),
	})
}

// deviceView is the page that shows the password of a device, once.
type deviceView struct {
	Device            account.Device
	Account, Password string
	Host              string
}

func (c *Console) addDevice(w http.ResponseWriter, r *http.Request) {
	a := who(r).account.Address
	in := typedIn(r)
	expires, err := c.expiry(in.Days)
	var t account.Terms
	if err == nil {
		t, err = api.Terms(in.Scope, expires, strings.FieldsFunc(in.Networks, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\r' }))
	}
	var dev account.Device
	var password string
	if err == nil {
		dev, password, err = c.o.Directory.AddDevice(c.by(r), a, in.Name, t)
	}
	if err != nil {
		c.declined(w, r, err, func(words string) { c.devices(w, r, http.StatusUnprocessableEntity, words) })
		return
	}
	c.show(w, r, http.StatusOK, "The password of the device", "device", deviceView{dev, a.Unicode(), password, c.o.Hostname.Unicode()})
}

func (c *Console) removeDevice(w http.ResponseWriter, r *http.Request) {
	if err := c.o.Directory.RemoveDevice(c.by(r), who(r).account.Address, number(r)); err != nil {
		c.declined(w, r, err, func(words string) { c.devices(w, r, http.StatusUnprocessableEntity, words) })
		return
	}
	http.Redirect(w, r, "/devices?done=device-removed", http.StatusSeeOther)
}
