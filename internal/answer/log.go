package answer

import (
	"context"
	"log/slog"
	"regexp"
	"time"
)

// finish reports and logs a request that has been answered: one line, at the level info
// for a success, warn for a refusal, error for a fault of the service. Above the level
// debug, strangers' requests have a budget of lines.
func (x *Exchange) finish() {
	took := time.Since(x.start)
	code, level := CodeOK, slog.LevelInfo
	if e := x.failure; e != nil {
		code, level = e.Row.Code(), slog.LevelWarn
		if e.Row.Status() >= 500 { // whatever StatusFor returns
			level = slog.LevelError
		}
	}
	r, t, log := x.gin.Request, x.router.cfg.Telemetry, x.router.cfg.Log
	t.Answered(r.Context(), Outcome{
		RequestID: x.id, Endpoint: x.endpoint.Name, Route: x.gin.FullPath(), Code: code, Fault: level == slog.LevelError,
		Took: took, App: x.app, ClientIP: x.ip,
	})
	ctx := context.WithoutCancel(r.Context())
	if !log.Enabled(ctx, level) {
		return
	}
	var without uint64
	if !x.proved && level < slog.LevelError && !log.Enabled(ctx, slog.LevelDebug) {
		var ok bool
		if ok, without = x.router.strangers.take(time.Now(), x.ip); !ok {
			t.Unlogged()
			return
		}
	}
	attrs := make([]slog.Attr, 0, 14+len(x.noteRoom))
	attrs = append(attrs,
		slog.String("request_id", x.id),
		slog.String("endpoint", x.endpoint.Name),
		slog.Int("status", x.gin.Writer.Status()),
		slog.String("code", code),
	)
	if e := x.failure; e != nil {
		attrs = append(attrs, slog.String("error", e.OAuthName()), slog.String("hint", e.Hint))
		if e.Cause != nil {
			attrs = append(attrs, slog.String("cause", e.Cause.Error()))
		}
	}
	attrs = append(attrs, slog.String("app", x.app))
	attrs = append(attrs, x.notes...)
	attrs = append(attrs,
		slog.Float64("duration", took.Seconds()),
		slog.Int("bytes", max(0, x.gin.Writer.Size())),
		slog.Any("client_ip", x.ip),
	)
	// A caller's own id helps to follow a call through several services; it never
	// becomes ours.
	if id := r.Header.Get("X-Request-Id"); callerID.MatchString(id) {
		attrs = append(attrs, slog.String("caller_request_id", id))
	}
	if id := t.TraceID(r.Context()); id != "" {
		attrs = append(attrs, slog.String("trace_id", id))
	}
	if without > 0 {
		attrs = append(attrs, slog.Uint64("requests_without_a_line", without))
	}
	log.LogAttrs(ctx, level, "request", attrs...)
}

// callerID matches what is accepted as a caller's request id. It is shorter than a token
// without its kind (64), so that no token gets into the log this way.
var callerID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,60}$`)
