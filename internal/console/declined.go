package console

import (
	"context"
	"net/http"

	"gatepost/internal/activity"
	"gatepost/internal/console/browser"
	"gatepost/internal/console/page"
	"gatepost/internal/store"
)

// declined answers a form that the directory did not take: with the form and
// its words, or, where something of ours failed, with nothing of that.
func (c *Console) declined(w http.ResponseWriter, r *http.Request, err error, again func(words string)) {
	if store.Failed(err) {
		c.failed(w, r, err)
		return
	}
	again(page.Sentence(err))
}

// by returns the context of a change that whoever asks makes, which is noted
// with it.
func (c *Console) by(r *http.Request) context.Context {
	return activity.By(r.Context(), browser.Client(r))
}
