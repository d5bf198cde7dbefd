package process

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"authsvc/internal/app"
	"authsvc/internal/app/appsfile"
	"authsvc/internal/config"
	"authsvc/internal/keyring"
	"authsvc/internal/reload"
	"authsvc/internal/telemetry"
	"authsvc/internal/token"
)

// source is what a service reads at its start, and again when it changes.
type source struct {
	keys        *keyring.Current
	apps        *app.Registry
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error) // nil: no TLS
	// certificateNotAfter is when that expires; nil: no TLS.
	certificateNotAfter func() time.Time

	watched []*reload.Watcher
	demo    *demo // only with --dev
}

// newSource reads keyring, apps file and certificate. It fails with everything
// that is wrong with them at once.
func newSource(cfg config.Config, log *slog.Logger, metrics *telemetry.Metrics, clock *token.Clock) (*source, error) {
	s := &source{}
	watch := func(file, name string, paths func() []string, load func() error) *reload.Watcher {
		w := reload.New(reload.Options{Name: name, Paths: paths, Load: load, OnResult: func(err error) {
			metrics.Reloaded(file, err)
			if err != nil {
				log.Error("a changed file was refused; what was read before stays in use", "file", file, "cause", err.Error())
				return
			}
			log.Info("a changed file was read again", "file", file)
		}})
		s.watched = append(s.watched, w)
		return w
	}
	keysErr := s.watchKeys(cfg, log, clock, watch)
	var appsErr error
	if keysErr == nil {
		appsErr = s.watchApps(cfg, log, watch)
	} else { // without the pepper the apps mean nothing, but their faults can be told
		_, appsErr = appsfile.Read(cfg.Apps, app.Pepper{})
	}
	return s, errors.Join(keysErr, appsErr, s.watchCertificate(cfg, watch))
}

type watchFunc func(file, name string, paths func() []string, load func() error) *reload.Watcher

func fixed(paths ...string) func() []string { return func() []string { return paths } }

func (s *source) watchKeys(cfg config.Config, log *slog.Logger, clock *token.Clock, watch watchFunc) error {
	w := watch("keys", "the keyring", fixed(cfg.Keys), func() error {
		ring, err := keyring.Read(cfg.Keys)
		if err != nil {
			return err
		}
		now, err := clock.Now()
		if err != nil {
			now = time.Now() // the store is away; which keys are long dead can be told without it
		}
		return s.keys.Replace(ring, now)
	})
	ring, err := keyring.Read(cfg.Keys)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w\n  make one with: authsvc keys init --keys %s", err, cfg.Keys)
	}
	if err != nil {
		return err
	}
	if info, err := os.Stat(cfg.Keys); err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn("the keyring can be read by others than its owner: whoever has it and a copy of the store can forge tokens",
			"file", cfg.Keys, "fix", "chmod 600 "+cfg.Keys)
	}
	s.keys = keyring.NewCurrent(ring, w.Check)
	return nil
}

func (s *source) watchApps(cfg config.Config, log *slog.Logger, watch watchFunc) error {
	pepper := s.keys.Ring().Pepper()
	var secretFiles atomic.Pointer[[]string]
	read := func() (appsfile.File, error) {
		f, err := appsfile.Read(cfg.Apps, pepper)
		secretFiles.Store(&f.SecretFiles) // also of a file with faults: mending one of them counts
		return f, err
	}
	warn := func(f appsfile.File) {
		for _, w := range append(f.Warnings, app.Warnings(f.Apps, cfg.RefreshGrace)...) {
			log.Warn(w)
		}
	}
	if _, err := read(); err != nil { // the watcher must know of the secret files
		return err
	}
	paths := func() []string { return append([]string{cfg.Apps}, *secretFiles.Load()...) }
	w := watch("apps", "the apps file", paths, func() error {
		f, err := read()
		if err != nil {
			return err
		}
		if err := s.apps.Replace(f.Apps); err != nil {
			return err
		}
		warn(f)
		return nil
	})
	f, err := read()
	if err != nil {
		return err
	}
	if s.apps, err = app.NewRegistry(pepper, f.Apps); err != nil {
		return err
	}
	s.apps.OnReload = w.Check
	warn(f)
	return nil
}

func (s *source) watchCertificate(cfg config.Config, watch watchFunc) error {
	if cfg.TLSCert == "" {
		return nil
	}
	var current atomic.Pointer[tls.Certificate]
	load := func() error {
		c, err := tls.LoadX509KeyPair(cfg.TLSCert, cfg.TLSKey)
		if err != nil {
			return fmt.Errorf("the TLS certificate: %w", err)
		}
		current.Store(&c)
		return nil
	}
	watch("tls", "the TLS certificate", fixed(cfg.TLSCert, cfg.TLSKey), load)
	s.certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil }
	s.certificateNotAfter = func() time.Time { return current.Load().Leaf.NotAfter }
	return load()
}
