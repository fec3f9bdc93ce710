package console

import (
	"net/http"

	"gatepost/internal/account"
	"gatepost/internal/console/page"
)

// devicesView is the page of devices.
type devicesView struct {
	Done, Problem string
	Fresh         bool
	ConfirmURL    string
	Devices       []account.Device
	Name          string // typed
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
		Done: page.Done(r.FormValue("done")), Problem: problem, Fresh: v.fresh, ConfirmURL: c.ConfirmURL("/devices"), Devices: list, Name: r.FormValue("name"),
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
	dev, password, err := c.o.Directory.AddDevice(c.by(r), a, r.PostFormValue("name"), account.Terms{})
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
