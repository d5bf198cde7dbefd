package app

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"hash"
	"slices"
	"sync"
	"sync/atomic"

	apierr "authsvc/internal/errors"
)

// Registry authenticates apps. It holds all apps in memory, so that an invalid client_id
// costs only a map look-up, and replaces the whole list at once. It is safe for
// concurrent use.
type Registry struct {
	macs  sync.Pool // of the pepper's hash.Hash; resetting an HMAC is faster than making one
	decoy App       // stands in for an unknown app; nobody knows its secret
	apps  atomic.Pointer[map[string]*App]

	mu   sync.Mutex        // serializes Replace
	seen map[string]uint32 // the highest generation of every key so far

	// OnReload, if set before first use, checks for a newer list of apps and calls
	// Replace. It limits its own rate.
	OnReload func(context.Context)
}

// NewRegistry returns a registry of apps whose secrets were hashed under pepper.
// Its errors are those of Replace.
func NewRegistry(pepper Pepper, apps []App) (*Registry, error) {
	r := &Registry{macs: sync.Pool{New: func() any { return pepper.mac() }}, decoy: App{Secrets: make([]Secret, 1)}, seen: map[string]uint32{}}
	_, _ = rand.Read(r.decoy.Secrets[0].Hash[:]) // never fails (crypto/rand)
	if err := r.Replace(apps); err != nil {
		return nil, err
	}
	return r, nil
}

// Replace replaces the whole list, or changes nothing and returns an error. It refuses an
// empty list, which is more likely a truncated file than intended; a duplicate key; and
// an app without a secret, or with more than MaxSecrets.
//
// It also refuses what would make revoked tokens valid again: an app whose generation is
// lower than it was, and a key that was removed and comes back without a higher
// generation. It does not know about generations before the process started.
func (r *Registry) Replace(apps []App) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(apps) == 0 {
		return errors.New("the list of apps is empty")
	}
	next := make(map[string]*App, len(apps))
	for i := range apps {
		a := apps[i]
		if _, twice := next[a.Key]; twice {
			return fmt.Errorf("app %s: duplicate key", a.Key)
		}
		if len(a.Secrets) == 0 || slices.Contains(a.Secrets, Secret{}) {
			return fmt.Errorf("app %s: no secret", a.Key)
		}
		if len(a.Secrets) > MaxSecrets {
			return fmt.Errorf("app %s: %d secrets; at most %d are allowed", a.Key, len(a.Secrets), MaxSecrets)
		}
		if err := r.revives(&a); err != nil {
			return err
		}
		next[a.Key] = &a
	}
	for key, a := range next {
		r.seen[key] = a.Generation
	}
	r.apps.Store(&next)
	return nil
}

// revives returns an error if the app's revoked tokens would become valid again.
func (r *Registry) revives(a *App) error {
	before, known := r.seen[a.Key]
	if !known {
		return nil
	}
	if a.Generation < before {
		return fmt.Errorf("app %s: generation %d is lower than the %d it had, which would bring revoked tokens back; set it to %d or higher", a.Key, a.Generation, before, before)
	}
	if _, there := r.Lookup(a.Key); !there && a.Generation == before {
		return fmt.Errorf("app %s: it was removed, and would come back with its old tokens; set generation: %d", a.Key, before+1)
	}
	return nil
}

// Lookup returns the app of a key. The App must not be changed.
func (r *Registry) Lookup(key string) (*App, bool) {
	a, ok := (*r.apps.Load())[key]
	return a, ok
}

// Reload checks for a newer list of apps. It is called when a grant or a token shows that
// this one is out of date.
func (r *Registry) Reload(ctx context.Context) {
	if r.OnReload != nil {
		r.OnReload(ctx)
	}
}

// Len returns the number of apps.
func (r *Registry) Len() int { return len(*r.apps.Load()) }

// States returns the numbers of active and frozen apps.
func (r *Registry) States() (active, frozen int) {
	apps := *r.apps.Load()
	for _, a := range apps {
		if a.Frozen {
			frozen++
		}
	}
	return len(apps) - frozen, frozen
}

// Authenticate checks the possible secrets of a request (HTTP Basic can be read in two
// ways) against those of an app; one match is enough. An unknown app and a wrong secret
// take the same work and give the same answer, APIG.1009: each secret is compared
// MaxSecrets times, with a decoy's if the app has fewer.
func (r *Registry) Authenticate(key string, secrets ...string) (Authenticated, error) {
	a, known := r.Lookup(key)
	if !known {
		a = &r.decoy
	}
	mac := r.macs.Get().(hash.Hash)
	defer r.macs.Put(mac)
	match := 0
	for _, s := range secrets {
		if s == "" {
			continue // never a valid secret, whatever an app's hash is
		}
		mac.Reset()
		h := hashWith(mac, s)
		for i := range MaxSecrets {
			kept := &r.decoy.Secrets[0]
			if i < len(a.Secrets) {
				kept = &a.Secrets[i]
			}
			match |= subtle.ConstantTimeCompare(h[:], kept.Hash[:])
		}
	}
	if !known || match != 1 {
		return Authenticated{}, apierr.New(apierr.CredentialsInvalid,
			"No app has this client_id and client_secret. Check both for typos, and whether the secret was replaced or belongs to another environment.")
	}
	return Authenticated{app: a}, nil
}
