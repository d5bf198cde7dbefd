package redisconn

import (
	"context"
	"errors"
	"strings"

	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// instrument makes a client create spans for the commands of traced calls.
//
// go-redis sends the commands of several calls together, without their contexts. So each
// command carries the span of its call: the span of the batch is a child of the first, and
// linked with the others in both directions.
func instrument(c *redis.Client, p trace.TracerProvider) error {
	c.AddHook(callers{}) // around redisotel's
	return redisotel.InstrumentTracing(c, redisotel.WithTracerProvider(discreet{p}),
		redisotel.WithDBStatement(false), redisotel.WithCallerEnabled(false),
		redisotel.WithCommandsFilter(func(cmds []redis.Cmder) bool { return len(callersOf(cmds)) == 0 }))
}

// tracedCmd is a command with the span of its call.
type tracedCmd struct {
	*redis.Cmd
	span trace.Span
}

// withSpan returns a command with the span of its caller, if that is recorded.
func withSpan(ctx context.Context, cmd *redis.Cmd) redis.Cmder {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		return tracedCmd{cmd, span}
	}
	return cmd
}

func callersOf(cmds []redis.Cmder) (spans []trace.Span) {
	for _, c := range cmds {
		if c, ok := c.(tracedCmd); ok {
			spans = append(spans, c.span)
		}
	}
	return spans
}

// callers is a redis.Hook that puts the spans of a batch's callers into its context.
type callers struct{}

// othersKey is the context key of the spans of all callers but the first.
type othersKey struct{}

// DialHook implements redis.Hook.
func (callers) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook. A single command is sent this way, also without its
// context.
func (callers) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return next(withCallers(ctx, cmd), cmd) }
}

// ProcessPipelineHook implements redis.Hook.
func (callers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return next(withCallers(ctx, cmds...), cmds) }
}

func withCallers(ctx context.Context, cmds ...redis.Cmder) context.Context {
	spans := callersOf(cmds)
	if len(spans) == 0 {
		return ctx
	}
	return context.WithValue(trace.ContextWithSpan(ctx, spans[0]), othersKey{}, spans[1:])
}

// discreet is a TracerProvider whose spans are linked with their callers and do not quote
// Redis: its errors can hold the arguments of a command, which are keys and values.
type discreet struct{ trace.TracerProvider }

// Tracer implements trace.TracerProvider.
func (d discreet) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	return discreetTracer{d.TracerProvider.Tracer(name, opts...)}
}

type discreetTracer struct{ trace.Tracer }

// Start implements trace.Tracer.
func (t discreetTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	others, _ := ctx.Value(othersKey{}).([]trace.Span)
	for _, s := range others {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: s.SpanContext()}))
	}
	ctx, span := t.Tracer.Start(ctx, name, opts...)
	for _, s := range others {
		s.AddLink(trace.LinkFromContext(ctx))
	}
	return context.WithValue(ctx, othersKey{}, nil), discreetSpan{span}
}

type discreetSpan struct{ trace.Span }

// RecordError implements trace.Span: it keeps only the first word of a reply of Redis
// (OOM, READONLY), and the type of any other error.
func (s discreetSpan) RecordError(err error, _ ...trace.EventOption) {
	kind := semconv.ErrorType(err)
	var answer redis.Error
	if errors.As(err, &answer) {
		code, _, _ := strings.Cut(answer.Error(), " ")
		kind = semconv.ErrorTypeKey.String(code)
	}
	s.SetAttributes(kind)
}

// SetStatus implements trace.Span, without the description.
func (s discreetSpan) SetStatus(code codes.Code, _ string) { s.Span.SetStatus(code, "") }
