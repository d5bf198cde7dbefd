package app

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync/atomic"

	apierr "authsvc/internal/errors"
)

// Registry answers who an app is. It holds all apps in memory, so that a junk
// client_id costs nothing but a map look-up, and swaps the whole list at once.
// It is safe for concurrent use.
type Registry struct {
	pepper Pepper
	decoy  App
	apps   atomic.Pointer[map[string]*App]

	// OnReread, where it is set before first use, looks whether there is a
	// newer list of apps and calls Replace. It limits its own rate.
	OnReread func()
}

// NewRegistry returns a registry of apps whose secrets were hashed under pepper.
// It fails as Replace does.
func NewRegistry(pepper Pepper, apps []App) (*Registry, error) {
	r := &Registry{pepper: pepper}
	// An unknown app is checked against a hash that no secret has.
	_, _ = rand.Read(r.decoy.SecretHash[:])
	if err := r.Replace(apps); err != nil {
		return nil, err
	}
	return r, nil
}

// Replace makes apps the whole list, or changes nothing and returns an error: an
// empty list is refused, because a service that knows no app is more likely the
// victim of a truncated file than of a wish; so are a key that stands twice and
// an app without a secret.
func (r *Registry) Replace(apps []App) error {
	if len(apps) == 0 {
		return errors.New("the list of apps is empty")
	}
	next := make(map[string]*App, len(apps))
	for i := range apps {
		a := apps[i]
		if _, twice := next[a.Key]; twice {
			return fmt.Errorf("app %s: the key stands twice", a.Key)
		}
		if a.SecretHash == (SecretHash{}) {
			return fmt.Errorf("app %s: no secret", a.Key)
		}
		next[a.Key] = &a
	}
	r.apps.Store(&next)
	return nil
}

// Lookup returns the app of a key. The App must not be changed.
func (r *Registry) Lookup(key string) (*App, bool) {
	a, ok := (*r.apps.Load())[key]
	return a, ok
}

// Reread looks whether there is a newer list of apps: a grant or a token tells
// that this one is old.
func (r *Registry) Reread() {
	if r.OnReread != nil {
		r.OnReread()
	}
}

// Len is the number of apps.
func (r *Registry) Len() int { return len(*r.apps.Load()) }

// Authenticate checks a key against the secrets that the caller may have meant
// (HTTP Basic can be read in two ways); one that fits is enough. An unknown app
// and a wrong secret do the same work and give the same answer, APIG.1009.
func (r *Registry) Authenticate(key string, secrets ...string) (Authenticated, error) {
	a, known := r.Lookup(key)
	if !known {
		a = &r.decoy
	}
	match := 0
	for _, s := range secrets {
		if s == "" {
			continue // never a secret, whatever hash an app was given
		}
		h := r.pepper.Hash(s)
		match |= subtle.ConstantTimeCompare(h[:], a.SecretHash[:])
	}
	if !known || match != 1 {
		return Authenticated{}, apierr.New(apierr.CredentialsInvalid,
			"No app has this client_id and client_secret. Check both for typing errors, a secret that was replaced, and the environment you are calling.")
	}
	return Authenticated{app: a}, nil
}
