package httpapi

import (
	"context"
	"log/slog"
	"regexp"
	"time"
)

// finish counts and logs a request that has been answered: one event each, info
// for a success, warn for a refusal, error for a fault of ours.
func (x *exchange) finish() {
	took := time.Since(x.start)
	code, level := CodeOK, slog.LevelInfo
	if e := x.failure; e != nil {
		code, level = e.Row.Code(), slog.LevelWarn
		if e.Row.Status() >= 500 { // also where nginx is told 403
			level = slog.LevelError
		}
	}
	x.server.cfg.Telemetry.Answered(x.Request.Context(), Outcome{
		RequestID: x.id, Endpoint: x.endpoint, Route: x.FullPath(), Code: code, Fault: level == slog.LevelError,
		Took: took, App: x.app, ClientIP: x.ip,
	})
	ctx := context.WithoutCancel(x.Request.Context())
	if !x.server.cfg.Log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 13)
	attrs = append(attrs,
		slog.String("request_id", x.id),
		slog.String("endpoint", x.endpoint),
		slog.Int("status", x.Writer.Status()),
		slog.String("code", code),
	)
	if e := x.failure; e != nil {
		attrs = append(attrs, slog.String("error", e.OAuthName()), slog.String("hint", e.Hint))
		if e.Cause != nil {
			attrs = append(attrs, slog.String("cause", e.Cause.Error()))
		}
	}
	attrs = append(attrs,
		slog.String("app", x.app),
		slog.Float64("duration", took.Seconds()),
		slog.Int("bytes", max(0, x.Writer.Size())),
		slog.Any("client_ip", x.ip),
	)
	// A caller's own id helps to follow a call through several services; ours
	// is never taken from it.
	if id := x.GetHeader("X-Request-Id"); callerID.MatchString(id) {
		attrs = append(attrs, slog.String("caller_request_id", id))
	}
	if id := x.server.cfg.Telemetry.TraceID(x.Request.Context()); id != "" {
		attrs = append(attrs, slog.String("trace_id", id))
	}
	x.server.cfg.Log.LogAttrs(ctx, level, "request", attrs...)
}

// callerID is what is taken for a request id of a caller: shorter than a token
// without its kind (64), so that none comes into the log this way.
var callerID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,60}$`)
