package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	oteltrace "go.opentelemetry.io/otel/trace"

	"authsvc/internal/config"
	"authsvc/internal/doctor"
	"authsvc/internal/httpapi"
	"authsvc/internal/redisconn"
	"authsvc/internal/store"
	"authsvc/internal/telemetry"
	"authsvc/internal/token"
)

// Config configures a Process. Nothing is optional.
type Config struct {
	Settings config.Config
	Log      *slog.Logger
	// LogLinesDropped returns the number of log lines dropped since the start.
	LogLinesDropped func() uint64
	Build           telemetry.BuildInfo
	Stdout          io.Writer // for what --dev prints
}

// Process is one running service.
type Process struct {
	cfg      config.Config
	log      *slog.Logger
	stdout   io.Writer
	metrics  *telemetry.Metrics
	files    files
	demo     *demo // nil: not --dev
	store    store.Opened
	measured token.Store
	clock    *token.Clock
	manager  *token.Manager
	traces   *telemetry.Provider // nil: no traces
	draining chan struct{}       // closed when it begins to stop
	gate     *gate
	inFlight atomic.Int64
}

// New reads everything that is needed before a listener opens; its error holds all that
// is wrong with it. The store need not answer yet: until it does, the process is not
// ready. A Process must be run: Run closes it.
func New(cfg Config) (*Process, error) {
	p := &Process{cfg: cfg.Settings, log: cfg.Log, stdout: cfg.Stdout, clock: token.NewClock(time.Now), draining: make(chan struct{})}
	p.metrics = telemetry.NewMetrics(p.clock)
	var filesErr, traceErr error
	if p.cfg.Dev {
		p.files, p.demo, filesErr = newDemo()
	} else {
		filesErr = p.readFiles()
	}
	if p.cfg.TraceEndpoint != "" {
		p.traces, traceErr = telemetry.NewProvider(telemetry.ProviderConfig{Endpoint: p.cfg.TraceEndpoint, Sample: p.cfg.TraceSample, Version: cfg.Build.Version, Log: p.log})
	}
	opened, storeErr := openStore(p.cfg, store.Options{OnBreaker: p.breakerChanged, OnOutage: p.outage, OnShared: p.shared, Traces: p.tracer()})
	if storeErr == nil {
		p.store = opened
	}
	if err := errors.Join(filesErr, storeErr, traceErr); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.gate = newGate(p.room(), time.Now, p.log)
	p.metrics.Observe(p.observed(cfg))
	p.measured = telemetry.Store(p.store, p.metrics, p.tracer())
	var outages func(token.GrantID) token.Outages
	if s, ok := p.store.(monitored); ok {
		outages = s.Outages
	}
	p.manager = token.NewManager(token.Config{
		Store: p.measured, Clock: p.clock, Keys: p.files.keys, Apps: p.files.apps, Outages: outages,
		AccessTTL: p.cfg.AccessTTL, RefreshTTL: p.cfg.RefreshTTL, Grace: p.cfg.RefreshGrace,
		StoreTimeout: p.cfg.StoreTimeout, Draining: p.draining,
		OnEvent: p.metrics.GrantEvents(p.log),
	})
	return p, nil
}

// close closes what New opened.
func (p *Process) close() error {
	if p.traces != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		p.traces.Close(ctx) // does nothing after shutdown
	}
	if p.store == nil {
		return nil
	}
	return p.store.Close()
}

// observed returns what the metrics read.
func (p *Process) observed(cfg Config) telemetry.Observed {
	o := telemetry.Observed{
		Build: cfg.Build, Keys: p.files.keys, Apps: p.files.apps,
		LogLinesDropped: cfg.LogLinesDropped, Connections: p.gate.figures,
	}
	if cert := p.files.certificate; cert != nil {
		o.CertificateNotAfter = func() time.Time { return cert.Load().Leaf.NotAfter }
	}
	if r, ok := p.store.(interface{ Pool() redisconn.PoolStats }); ok {
		o.Pool = func() telemetry.PoolStats { return telemetry.PoolStats(r.Pool()) }
	}
	if s, ok := p.store.(interface {
		Away() map[string]time.Duration
	}); ok {
		o.Away = s.Away
	}
	return o
}

// tracer returns what creates spans, or nil if there are no traces.
func (p *Process) tracer() oteltrace.TracerProvider {
	if p.traces == nil {
		return nil
	}
	return p.traces
}

// Run serves until ctx ends, and then until the requests in flight have finished or the
// drain time is up.
func (p *Process) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, p.close()) }()
	background, stop := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer stop()

	p.notify(statusWaiting)
	failed := make(chan error, 5) // one for each that can fail
	if err := p.useStore(background, &tasks, failed); err != nil {
		return err
	}
	if len(p.files.watchers) > 0 { // with --dev, closing the terminal ends the process
		tasks.Go(func() { p.checkOnHangup(background) })
	}
	for _, w := range p.files.watchers {
		tasks.Go(func() { w.Run(background, time.Second) })
	}

	public, err := net.Listen("tcp", p.cfg.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	defer public.Close()
	admin, err := net.Listen("tcp", p.cfg.AdminListen)
	if err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	defer admin.Close()
	issuer := p.issuer(public)
	api, err := httpapi.New(httpapi.Config{
		Manager: p.manager, Apps: p.files.apps, Telemetry: p.metrics, Log: p.log,
		Issuer: issuer, TrustedProxies: p.cfg.TrustedProxies, StoreTimeout: p.cfg.StoreTimeout,
		IntrospectReason: p.cfg.IntrospectReason, Draining: p.isDraining,
	})
	if err != nil {
		return err
	}
	probes := telemetry.NewProbes(telemetry.ProbesConfig{
		Store: p.measured, Clock: p.clock, Metrics: p.metrics, StoreTimeout: p.cfg.StoreTimeout, Draining: p.isDraining,
		Pprof: p.cfg.Pprof,
	})
	servers, err := p.servers(telemetry.Requests(api, p.tracer(), issuer, p.cfg.TrustedProxies), issuer)
	if err != nil {
		return err
	}
	servers = append(servers, p.server(probes))
	p.gate.open(public.(*net.TCPListener), p.tlsConfig())
	tasks.Go(p.gate.accept)
	for i, l := range []net.Listener{&p.gate.http1, &p.gate.http2, &p.gate.refused, admin} {
		tasks.Go(func() {
			if err := serve(servers[i], l); err != nil {
				failed <- err
			}
		})
	}
	for _, found := range append(doctor.Writable(p.cfg.Files...), doctor.Listeners(p.cfg.Listen, p.cfg.AdminListen, p.cfg.TLSCert != "", doctor.LocalAddresses())...) {
		found.Log(p.log)
	}
	p.log.Info("serving", "listen", public.Addr().String(), "admin_listen", admin.Addr().String(), "issuer", issuer, "apps", p.files.apps.Len(), "max_connections", p.gate.room)
	p.notify(daemon.SdNotifyReady)
	tasks.Go(func() { p.watchdog(background, config.DefaultIssuer(admin.Addr().String(), false)+"/livez") })
	if p.cfg.Dev {
		p.demo.print(p.stdout, issuer)
	}

	select {
	case err = <-failed:
	case <-ctx.Done():
		p.notify(daemon.SdNotifyStopping)
		p.linger()
	}
	return errors.Join(err, p.shutdown(servers))
}

// issuer returns the issuer of the settings, or the one derived from the listener, whose
// port is known only now.
func (p *Process) issuer(public net.Listener) string {
	if !p.cfg.IssuerDerived {
		return p.cfg.Issuer
	}
	issuer := config.DefaultIssuer(public.Addr().String(), p.cfg.TLSCert != "")
	if !p.cfg.Dev {
		p.log.Warn("--issuer is not set, so URLs in answers have the address of this machine", "issuer", issuer)
	}
	return issuer
}

// checkOnHangup checks the watched files on SIGHUP, on which other services reload.
func (p *Process) checkOnHangup(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			p.log.Info("SIGHUP: checking for changed files, which also happens every second")
			for _, w := range p.files.watchers {
				w.Check(ctx)
			}
		}
	}
}
