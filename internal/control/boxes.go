package control

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"gatepost/internal/account"
	"gatepost/internal/mailbox"
)

// Folder are the arguments of mailbox.list: an account and one of its
// folders.
type Folder struct {
	Account string `json:"account"`
	Folder  string `json:"folder"`
}

// Message are the arguments of mailbox.show.
type Message struct {
	Account string `json:"account"`
	ID      string `json:"id"`
}

// MessageInfo is what an operator sees of a message; its body follows it.
type MessageInfo struct {
	ID       int64         `json:"id"`
	Size     int64         `json:"size"`
	Received time.Time     `json:"received"`
	Flags    mailbox.Flags `json:"flags"`
}

// Exported is one message of an export; its body follows it.
type Exported struct {
	Folder   string    `json:"folder"`
	UID      uint32    `json:"uid"`
	Received time.Time `json:"received"`
	Flags    []string  `json:"flags"` // keywords too
	Size     int64     `json:"size"`
	Ends     []byte    `json:"ends,omitempty"` // how its lines ended before it was imported: see package lines
}

func (d *Desk) listFolders(ctx context.Context, a Name, emit Emit) error {
	acc, err := d.account(ctx, a.Name)
	if err != nil {
		return err
	}
	list, err := d.Boxes.Folders(ctx, acc.ID)
	for _, f := range list {
		if err := emit(f, nil); err != nil {
			return err
		}
	}
	return err
}

func (d *Desk) listMessages(ctx context.Context, a Folder, emit Emit) error {
	acc, err := d.account(ctx, a.Account)
	if err != nil {
		return err
	}
	for m, err := range d.Boxes.Messages(ctx, acc.ID, a.Folder) {
		if err != nil {
			return missing(err, fmt.Sprintf("%s has no folder %s", acc.Address.Unicode(), a.Folder))
		}
		if err := emit(m, nil); err != nil {
			return err
		}
	}
	return nil
}

func (d *Desk) showMessage(ctx context.Context, a Message, emit Emit) error {
	acc, err := d.account(ctx, a.Account)
	if err != nil {
		return err
	}
	none := fmt.Sprintf("%s has no message %s", acc.Address.Unicode(), a.ID)
	id, err := strconv.ParseInt(a.ID, 10, 64)
	if err != nil {
		return errors.New(none)
	}
	c, err := d.Boxes.Open(ctx, acc.ID, id)
	if err != nil {
		return missing(err, none)
	}
	defer c.Close()
	return emit(MessageInfo{id, c.Size, c.Received, c.Flags}, c)
}

// missing says in words that something is not there.
func missing(err error, text string) error {
	if errors.Is(err, mailbox.ErrNotFound) {
		return errors.New(text)
	}
	return err
}

func (d *Desk) exportMailbox(ctx context.Context, a Name, emit Emit) error {
	acc, err := d.account(ctx, a.Name)
	if err != nil {
		return err
	}
	folders, err := d.Boxes.Folders(ctx, acc.ID)
	if err != nil {
		return err
	}
	for _, f := range folders {
		if err := d.exportFolder(ctx, acc, f.Name, emit); err != nil {
			return err
		}
	}
	return nil
}

func (d *Desk) exportFolder(ctx context.Context, acc account.Account, folder string, emit Emit) error {
	for m, err := range d.Boxes.Messages(ctx, acc.ID, folder) {
		if err != nil {
			return err
		}
		c, err := d.Boxes.Open(ctx, acc.ID, m.ID)
		if errors.Is(err, mailbox.ErrNotFound) {
			continue // expunged since it was listed
		}
		if err != nil {
			return err
		}
		err = emit(Exported{folder, m.UID, c.Received, append(c.Flags.Names(), c.Keywords...), c.Size, c.Ends}, c)
		c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
