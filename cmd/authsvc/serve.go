package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	oteltrace "go.opentelemetry.io/otel/trace"

	"authsvc/internal/config"
	"authsvc/internal/httpapi"
	"authsvc/internal/store"
	"authsvc/internal/token"
	"authsvc/internal/tracing"
)

// The limits on a slow client. A token request is a few hundred bytes, but 12 MiB
// must get through on a slow line.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 60 * time.Second
	writeTimeout      = 90 * time.Second // from the end of the head, so it includes reading the body
	idleTimeout       = 2 * time.Minute
)

// serveCommand is authsvc serve.
func serveCommand(p process) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the token service",
		Long: `Runs the token service: the API on one listener, and probes and metrics on
another. It needs a store, an apps file and a keyring; --dev needs nothing, and
keeps nothing.

Each flag is also a variable in the environment (--access-ttl is
AUTHSVC_ACCESS_TTL) and a key of the YAML file given with --config (access_ttl).
A flag wins over the environment, that over the file, and that over the default.

SIGTERM drains: the process is no longer ready, but serves for half of --drain; in
the other half, what is in flight finishes. One more signal ends each half at once.
SIGHUP looks for changed files, as happens every second anyway.`,
		Example: `  authsvc serve --dev
  authsvc serve --store redis://127.0.0.1:6379/0 --apps apps.yaml --keys keys.json
  AUTHSVC_STORE_FILE=/run/secrets/redis-url authsvc serve --config authsvc.yaml`,
		Args: cobra.NoArgs,
	}
	settings := config.Register(c.Flags())
	c.RunE = func(*cobra.Command, []string) error {
		cfg, warnings, err := settings.Load(p.environ)
		if err != nil {
			return err
		}
		queue := newLogQueue(p.stderr)
		defer queue.Close()
		log := slog.New(slog.NewJSONHandler(queue, &slog.HandlerOptions{Level: cfg.LogLevel}))
		for _, w := range warnings {
			log.Warn(w)
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		defer stop()
		s, err := newService(cfg, log, queue.Dropped)
		if err != nil {
			return err
		}
		return s.run(ctx, p.stdout)
	}
	return c
}

// service is a process that serves.
type service struct {
	cfg      config.Config
	log      *slog.Logger
	metrics  *httpapi.Metrics
	source   *source
	store    store.Opened
	measured token.Store
	clock    *token.Clock
	manager  *token.Manager
	traces   *tracing.Provider // nil: there are none
	draining atomic.Bool
	inFlight atomic.Int64
}

// httpLog takes what net/http says of connections. What a client can bring about
// as it likes is for debugging; the rest (no more file descriptors, for instance)
// is for the operator.
type httpLog struct{ log *slog.Logger }

// Write logs one line.
func (l httpLog) Write(line []byte) (int, error) {
	level := slog.LevelError
	if bytes.Contains(line, []byte("TLS handshake error")) || bytes.Contains(line, []byte("http2: ")) {
		level = slog.LevelDebug
	}
	l.log.Log(context.Background(), level, "net/http", "cause", string(bytes.TrimSpace(line)))
	return len(line), nil
}

// openStore opens the store of the settings, without connecting to it. onReach is
// told of a Redis that is away, or back; traces, which may be nil, makes spans.
func openStore(cfg config.Config, onReach func(node string, err error, since time.Time), traces oteltrace.TracerProvider) (store.Opened, error) {
	return store.Open(store.RedisOptions{
		URL: cfg.Store, Password: cfg.StorePassword, SentinelUser: cfg.StoreSentinelUser, SentinelPassword: cfg.StoreSentinelPassword,
		Prefix: cfg.StorePrefix, ClientName: clientName(),
		CAFile: cfg.StoreCA, CertFile: cfg.StoreCert, KeyFile: cfg.StoreKey,
		Timeout: cfg.StoreTimeout, OnReach: onReach, Traces: traces,
	})
}

// clientName tells the replicas apart in Redis's CLIENT LIST. Redis takes no
// spaces in it.
func clientName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return "authsvc:" + strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, host)
}

// newService reads everything that must be there before a listener opens. The
// store need not be: until it answers, the process is not ready. dropped counts the
// lines that the log has lost.
func newService(cfg config.Config, log *slog.Logger, dropped func() uint64) (*service, error) {
	s := &service{cfg: cfg, log: log, clock: token.NewClock(time.Now)}
	s.metrics = httpapi.NewMetrics(s.clock)
	var sourceErr, storeErr, traceErr error
	if cfg.Dev {
		s.source, sourceErr = newDemo()
	} else {
		s.source, sourceErr = newSource(cfg, log, s.metrics, s.clock)
	}
	if cfg.TraceEndpoint != "" {
		s.traces, traceErr = tracing.New(tracing.Config{Endpoint: cfg.TraceEndpoint, Sample: cfg.TraceSample, Version: readBuildInfo().Version, Log: log})
	}
	s.store, storeErr = openStore(cfg, s.redisReach, s.tracer())
	if err := errors.Join(sourceErr, storeErr, traceErr); err != nil {
		return nil, err
	}
	s.metrics.Observe(s.observed(dropped))
	s.measured = s.metrics.Store(s.store)
	if s.traces != nil {
		s.measured = httpapi.TracedStore(s.measured, s.traces)
	}
	s.manager = token.NewManager(token.Config{
		Store: s.measured, Clock: s.clock, Keys: s.source.keys, Apps: s.source.apps,
		AccessTTL: cfg.AccessTTL, RefreshTTL: cfg.RefreshTTL, Grace: cfg.RefreshGrace,
		OnEvent: httpapi.GrantEvents(log, s.metrics),
	})
	return s, nil
}

// observed is what the metrics read.
func (s *service) observed(dropped func() uint64) httpapi.Observed {
	b := readBuildInfo()
	o := httpapi.Observed{
		Build: httpapi.BuildInfo{Version: b.Version, Revision: b.Revision, Go: b.Go},
		Keys:  s.source.keys, Apps: s.source.apps, LogLinesDropped: dropped,
		CertificateNotAfter: s.source.certificateNotAfter,
	}
	if r, ok := s.store.(*store.Redis); ok {
		o.Pool = func() httpapi.PoolStats { return httpapi.PoolStats(r.Pool()) }
	}
	return o
}

// tracer makes spans; nil: there are none.
func (s *service) tracer() oteltrace.TracerProvider {
	if s.traces == nil {
		return nil
	}
	return s.traces
}

// run serves until ctx ends, and then until what is in flight has finished or
// the time for that is up.
func (s *service) run(ctx context.Context, stdout io.Writer) (err error) {
	defer func() { err = errors.Join(err, s.store.Close()) }()

	background, stop := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()
	s.notify(statusWaiting)
	failed := make(chan error, 3) // one for each that can fail
	if err := s.useStore(background, &tasks, failed); err != nil {
		return err
	}
	if len(s.source.watched) > 0 { // with --dev the terminal that goes takes the process with it
		tasks.Go(func() { s.lookOnHangup(background) })
	}
	for _, w := range s.source.watched {
		tasks.Go(func() { w.Run(background, time.Second) })
	}

	public, err := net.Listen("tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer public.Close()
	admin, err := net.Listen("tcp", s.cfg.AdminListen)
	if err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	defer admin.Close()
	issuer := s.cfg.Issuer
	if s.cfg.IssuerDerived {
		issuer = config.DefaultIssuer(public.Addr().String(), s.cfg.TLSCert != "") // now the port is known
		if !s.cfg.Dev {
			s.log.Warn("--issuer is not set, so the URLs in answers are those of this machine", "issuer", issuer)
		}
	}
	api, err := httpapi.New(httpapi.Config{
		Manager: s.manager, Apps: s.source.apps, Metrics: s.metrics, Log: s.log,
		Issuer: issuer, TrustedProxies: s.cfg.TrustedProxies, StoreTimeout: s.cfg.StoreTimeout,
		IntrospectReason: s.cfg.IntrospectReason, Draining: s.draining.Load, Traces: s.tracer(),
	})
	if err != nil {
		return err
	}
	probes := httpapi.NewAdmin(httpapi.AdminConfig{
		Store: s.measured, Clock: s.clock, Metrics: s.metrics, StoreTimeout: s.cfg.StoreTimeout, Draining: s.draining.Load,
		Pprof: s.cfg.Pprof,
	})
	servers := []*http.Server{s.server(api, s.source.certificate), s.server(probes, nil)}
	serve := func(srv *http.Server, l net.Listener) {
		tasks.Go(func() {
			var err error
			if srv.TLSConfig != nil {
				err = srv.ServeTLS(l, "", "")
			} else {
				err = srv.Serve(l)
			}
			if !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	serve(servers[0], public)
	serve(servers[1], admin)
	s.log.Info("serving", "listen", public.Addr().String(), "admin_listen", admin.Addr().String(), "issuer", issuer, "apps", s.source.apps.Len())
	s.notify(daemon.SdNotifyReady)
	tasks.Go(func() { s.watchdog(background, config.DefaultIssuer(admin.Addr().String(), false)+"/livez") })
	if s.cfg.Dev {
		s.source.demo.print(stdout, issuer)
	}

	select {
	case err = <-failed:
	case <-ctx.Done():
		s.notify(daemon.SdNotifyStopping)
		s.linger()
	}
	return errors.Join(err, s.shutdown(servers))
}

// useStore lets the store be used: its clock is measured, without which no request
// is served. A Redis is examined first, and then each minute. It fails for one that
// would get tokens wrong; failed is told of one that is in reach only later.
func (s *service) useStore(ctx context.Context, tasks *sync.WaitGroup, failed chan<- error) error {
	run := func() { s.clock.Run(ctx, s.measured, s.cfg.StoreTimeout, s.storeChanged) }
	watch := newRedisWatch(s)
	if watch == nil {
		tasks.Go(run)
		return nil
	}
	err := watch.within(ctx, firstCheckup, watch.first)
	var refused refusedRedis
	if errors.As(err, &refused) {
		return refused
	}
	tasks.Go(func() {
		if err != nil {
			if err := watch.untilFirst(ctx); err != nil {
				failed <- err
				return
			}
		}
		tasks.Go(func() { watch.run(ctx) })
		run()
	})
	return nil
}

// linger goes on accepting for half of the drain time, for the balancers that
// have not seen yet that the process is not ready. Answers ask for their
// connection to be closed. On a terminal nobody waits for that.
func (s *service) linger() {
	s.draining.Store(true)
	s.log.Info("stopping", "drain", s.cfg.Drain.String())
	if s.cfg.Dev {
		return
	}
	enough, cancel := s.halfOfDrain()
	defer cancel()
	<-enough.Done()
}

// halfOfDrain ends with half of the drain time, or with one more signal.
func (s *service) halfOfDrain() (context.Context, context.CancelFunc) {
	again, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	ctx, cancel := context.WithTimeout(again, s.cfg.Drain/2)
	return ctx, func() { cancel(); stop() }
}

// redisReach logs and counts that a Redis is away, or no longer.
func (s *service) redisReach(node string, err error, since time.Time) {
	away := err != nil && !errors.Is(err, store.ErrReplaced)
	s.metrics.RedisAway(away)
	took := slog.Float64("away_seconds", time.Since(since).Seconds())
	switch {
	case away:
		s.log.Error("a Redis is away: what needs it is answered with APIG.0613 until it is back", "redis", node, "cause", err.Error())
	case err != nil:
		s.log.Info("a Redis was away; another has taken its place", "redis", node, took)
	default:
		s.log.Info("a Redis is back", "redis", node, took)
	}
}

// storeChanged logs that the store was lost, or found.
func (s *service) storeChanged(err error) {
	if err != nil {
		s.notify(statusAway)
		s.log.Error("the token store is out of reach: requests that need it are answered with APIG.0613", "cause", err.Error())
		return
	}
	s.notify(statusReady)
	offset, _ := s.clock.Offset()
	s.log.Info("the token store answers", "clock_offset", offset.Seconds())
}

// lookOnHangup looks at the watched files on SIGHUP, which others reload on.
func (s *service) lookOnHangup(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			s.log.Info("SIGHUP: looking for changed files, as every second anyway")
			for _, w := range s.source.watched {
				w.Check()
			}
		}
	}
}

// shutdown ends the servers, each request within the other half of the drain time,
// and sends the last spans in what is left of it.
func (s *service) shutdown(servers []*http.Server) error {
	ctx, cancel := s.halfOfDrain()
	defer cancel()
	var errs []error
	for _, srv := range servers {
		if err := srv.Shutdown(ctx); err != nil {
			if n := s.inFlight.Load(); n > 0 { // else only connections on which nothing was asked
				errs = append(errs, fmt.Errorf("%d requests were cut off after the drain time", n))
			}
			errs = append(errs, srv.Close())
		}
	}
	if s.traces != nil {
		s.traces.Close(ctx)
	}
	return errors.Join(errs...)
}

func (s *service) server(h http.Handler, cert func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *http.Server {
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.inFlight.Add(1)
			defer s.inFlight.Add(-1)
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    httpapi.MaxHeaderBytes,
		ErrorLog:          log.New(httpLog{s.log}, "", 0),

		DisableGeneralOptionsHandler: true, // OPTIONS * has a row, too
	}
	if cert != nil {
		srv.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert}
	}
	return srv
}
