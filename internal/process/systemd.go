package process

import (
	"context"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// The status lines sent to systemd (Type=notify) if it started the process. READY means
// that the listeners are open, not that Redis answers: if it were withheld until then,
// the boot would wait, and a process that only waits for Redis would be killed. Whether
// the store answers is in the status line and in /readyz.
const (
	statusWaiting     = "STATUS=Serving; the token store has not answered yet"
	statusReady       = "STATUS=Serving; the token store answers"
	statusUnavailable = "STATUS=Serving; the token store is unavailable; requests that need it are answered with APIG.0613"
)

// notify sends a state to systemd, if it started the process.
func (p *Process) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		p.log.Warn("systemd could not be notified", "state", state, "cause", err.Error())
	}
}

// watchdog notifies systemd that the process is alive for as long as its admin listener
// answers, if the unit has a WatchdogSec. It checks three times in each such interval,
// so that one slow answer does not end the process.
func (p *Process) watchdog(ctx context.Context, livez string) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		p.log.Warn("the systemd watchdog can't be used", "cause", err.Error())
	}
	if interval <= 0 {
		return
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		if alive(ctx, livez, interval/3) {
			p.notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// alive reports whether a URL on this machine answers 200 before the timeout.
func alive(ctx context.Context, url string, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}
