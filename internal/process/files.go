package process

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"authsvc/internal/app"
	"authsvc/internal/app/appsfile"
	"authsvc/internal/doctor"
	"authsvc/internal/keyring"
	"authsvc/internal/reload"
)

// files holds what a process reads at its start, and again when it changes.
type files struct {
	keys        *keyring.Current
	apps        *app.Registry
	certificate *atomic.Pointer[tls.Certificate] // nil: no TLS
	watchers    []*reload.Watcher
}

// readFiles reads the keyring, the apps file and the certificate. Its error holds
// everything that is wrong with them.
func (p *Process) readFiles() error {
	keysErr := p.readKeyring()
	var appsErr error
	if keysErr == nil {
		appsErr = p.readApps()
	} else { // without the pepper the apps are of no use, but their faults can be reported
		_, appsErr = appsfile.Read(p.cfg.Apps, app.Pepper{}, nil)
	}
	return errors.Join(keysErr, appsErr, p.readCertificate())
}

// watch loads a file and adds it to those that are watched. file names it in the log
// and the metrics, what in an error. check checks whether the file has changed; it may
// be called once watch has returned.
func (p *Process) watch(file, what string, load func(watch func(path string)) error) (check func(context.Context), err error) {
	w, err := reload.New(reload.Options{Name: what, Load: load, OnResult: func(err error) {
		p.metrics.Reloaded(file, err)
		if err != nil {
			p.log.Error("a changed file was refused; the previous version stays in use", "file", file, "cause", err.Error())
			return
		}
		p.log.Info("a changed file was reloaded", "file", file)
	}})
	if err != nil {
		return nil, err
	}
	p.files.watchers = append(p.files.watchers, w)
	return w.Check, nil
}

func (p *Process) readKeyring() error {
	path := p.cfg.Keys
	var check func(context.Context)
	check, err := p.watch("keyring", "the keyring", func(watch func(string)) error {
		watch(path)
		ring, err := keyring.Read(path)
		if err != nil {
			return err
		}
		if p.files.keys == nil {
			p.files.keys = keyring.NewCurrent(ring, func(ctx context.Context) { check(ctx) })
			return nil
		}
		now, err := p.clock.Now()
		if err != nil {
			now = time.Now() // the store does not answer; the local clock can tell which keys are long dead
		}
		return p.files.keys.Replace(ring, now)
	})
	if err != nil {
		return fmt.Errorf("%w\n  Fix: %s", err, doctor.KeyringError(path, err).Fix)
	}
	for _, f := range doctor.KeyringMode(path) {
		f.Log(p.log)
	}
	return nil
}

func (p *Process) readApps() error {
	pepper := p.files.keys.Ring().Pepper()
	check, err := p.watch("apps", "the apps file", func(watch func(string)) error {
		f, err := appsfile.Read(p.cfg.Apps, pepper, watch)
		if err != nil {
			return err
		}
		if p.files.apps == nil {
			p.files.apps, err = app.NewRegistry(pepper, f.Apps)
		} else {
			err = p.files.apps.Replace(f.Apps)
		}
		if err != nil {
			return err
		}
		for _, found := range doctor.GoodApps(p.cfg.Apps, f, p.cfg.RefreshGrace) {
			found.Log(p.log)
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.files.apps.OnReload = check
	return nil
}

func (p *Process) readCertificate() error {
	if p.cfg.TLSCert == "" {
		return nil
	}
	p.files.certificate = &atomic.Pointer[tls.Certificate]{}
	_, err := p.watch("tls", "the TLS certificate", func(watch func(string)) error {
		watch(p.cfg.TLSCert)
		watch(p.cfg.TLSKey)
		c, err := tls.LoadX509KeyPair(p.cfg.TLSCert, p.cfg.TLSKey)
		if err != nil {
			return fmt.Errorf("the TLS certificate: %w", err)
		}
		p.files.certificate.Store(&c)
		return nil
	})
	return err
}
