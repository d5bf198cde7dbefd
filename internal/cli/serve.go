package cli

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"authsvc/internal/config"
	"authsvc/internal/logqueue"
	"authsvc/internal/process"
	"authsvc/internal/telemetry"
)

// serveCommand returns authsvc serve.
func serveCommand(env Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the token service",
		Long: `Runs the token service: the API on one listener, and probes and metrics on
another. It needs a store, an apps file and a keyring; --dev needs nothing, and
keeps nothing.

Each flag is also a variable in the environment (--access-ttl is
AUTHSVC_ACCESS_TTL) and a key of the YAML file given with --config (access_ttl). A
flag overrides the environment, the environment the file, and the file the
default.

SIGTERM drains: the process is no longer ready, but goes on serving for half of
--drain; in the other half, requests in flight finish. Another signal ends either
half at once. SIGHUP checks for changed files, which happens every second anyway.`,
		Example: `  authsvc serve --dev
  authsvc serve --store redis://127.0.0.1:6379/0 --apps apps.yaml --keys keys.json
  AUTHSVC_STORE_FILE=/run/secrets/redis-url authsvc serve --config authsvc.yaml`,
		Args: cobra.NoArgs,
	}
	settings := config.Register(c.Flags())
	c.RunE = func(*cobra.Command, []string) error {
		cfg, warnings, err := settings.Load(env.Vars)
		if err != nil {
			return err
		}
		// Whoever reads standard error may go away and come back; the service stays.
		signal.Ignore(syscall.SIGPIPE)
		queue := logqueue.New(env.Stderr)
		defer queue.Close()
		log := slog.New(slog.NewJSONHandler(queue, &slog.HandlerOptions{Level: cfg.LogLevel}))
		for _, w := range warnings {
			log.Warn(w)
		}
		b := readBuildInfo()
		p, err := process.New(process.Config{
			Settings: cfg, Log: log, LogLinesDropped: queue.Dropped, Stdout: env.Stdout,
			Build: telemetry.BuildInfo{Version: b.Version, Revision: b.Revision, Go: b.Go},
		})
		if err != nil {
			return err
		}
		// Only now: before, nothing has to be finished, and a signal need not wait for a file.
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
		defer stop()
		return p.Run(ctx)
	}
	return c
}
