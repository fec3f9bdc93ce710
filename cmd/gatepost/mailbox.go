package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatepost/internal/control"
	"gatepost/internal/daemon/operate"
	"gatepost/internal/mailbox"
)

// maxShown bounds a message that is put into JSON as text, in octets.
const maxShown = 64 << 20

func (a *app) mailbox() *cobra.Command {
	return a.group("mailbox", "What is in the mailboxes, and the way in and out of them", a.mailboxList(), a.mailboxShow(), a.mailboxImport(), a.mailboxExport())
}

// message is one row of a list, as mailbox.Message is sent.
type message struct {
	ID      int64     `json:"id"`
	UID     uint32    `json:"uid"`
	Subject string    `json:"subject"`
	From    string    `json:"from"`
	Date    time.Time `json:"date"`
	Size    int64     `json:"size"`
	Flags   []string  `json:"flags"`
}

func (a *app) mailboxList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list ACCOUNT [FOLDER]",
		Short: "List an account's folders, or the messages of one",
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				t := newTable(c.OutOrStdout(), "FOLDER", "MESSAGES", "UNSEEN")
				return list(a, c, "mailbox.folders", control.Name{Name: args[0]}, asJSON, func(f mailbox.Folder) {
					t.row(f.Name, f.Messages, f.Unseen)
				}, t.flush)
			}
			t := newTable(c.OutOrStdout(), "ID", "DATE", "FROM", "SUBJECT", "SIZE", "FLAGS")
			return list(a, c, "mailbox.list", control.Folder{Account: args[0], Folder: args[1]}, asJSON, func(m message) {
				t.row(m.ID, m.Date.Format("2006-01-02 15:04"), m.From, m.Subject, size(m.Size), strings.Join(m.Flags, " "))
			}, t.flush)
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

func (a *app) mailboxShow() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show ACCOUNT ID",
		Short: "Show a message",
		Long: `Show a message as it is stored, with control characters made visible. With
--json it is in "content"; octets that are no UTF-8 are replaced there. To get
it unchanged, export the mailbox.`,
		Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.operate(c, func(ctx context.Context, op *operate.Operator) error {
				return op.Do(ctx, "mailbox.show", control.Message{Account: args[0], ID: args[1]}, func(it control.Item) error {
					if asJSON {
						return showContent(c.OutOrStdout(), it)
					}
					r := bufio.NewReader(it.Body)
					return copyLines(escaped{c.OutOrStdout()}, r)
				})
			})
		},
	}
	jsonFlag(c, &asJSON)
	return c
}

// copyLines writes whole lines, so that no character is cut in two.
func copyLines(w io.Writer, r *bufio.Reader) error {
	for {
		line, err := r.ReadBytes('\n')
		if _, werr := w.Write(line); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// showContent prints a message as one object.
func showContent(w io.Writer, it control.Item) error {
	shown := map[string]any{}
	if err := json.Unmarshal(it.JSON, &shown); err != nil {
		return err
	}
	content, err := io.ReadAll(io.LimitReader(it.Body, maxShown+1))
	if err != nil {
		return err
	}
	if len(content) > maxShown {
		return fmt.Errorf("the message is too large to be shown as JSON; export the mailbox")
	}
	shown["content"] = string(content)
	return printJSON(w, shown)
}
