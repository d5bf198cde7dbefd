package token

import (
	"slices"
	"strings"

	"authsvc/internal/app"
	apierr "authsvc/internal/errors"
)

// DefaultScope means every scope that is available; no scope may have this name.
const DefaultScope = "default"

// MaxScopeLen is the maximum length of a scope parameter, in bytes.
const MaxScopeLen = app.MaxScopeLen

// narrow returns the requested part of the available scopes, in their order: all of them
// for an empty scope or "default", else the requested names. A name that is not available,
// or a scope without names, is APIG.2205.
func narrow(may []string, requested, whose string) (string, error) {
	if requested == "" || requested == DefaultScope {
		return strings.Join(may, " "), nil
	}
	if len(requested) > MaxScopeLen {
		return "", scopeError("The scope parameter is longer than 4096 bytes. Name each scope once, or leave it out.")
	}
	names := scopeNames(requested)
	if len(names) == 0 {
		return "", scopeError("The scope parameter names no scope. Leave it out to get every scope that " + whose + " has.")
	}
	for _, n := range names {
		switch {
		case slices.Contains(may, n):
		case strings.Contains(n, ","):
			return "", scopeError("The scope parameter has a comma in it. Separate scopes with spaces.")
		case strings.ContainsAny(n, "\t\r\n"):
			return "", scopeError("The scope parameter has a tab or a line break in it. Separate scopes with spaces.")
		default:
			return "", scopeError("The scope parameter names a scope that " + whose + " does not have. Request fewer scopes, or leave the parameter out to get all of them." + named(n))
		}
	}
	granted := make([]string, 0, len(names))
	for _, s := range may {
		if slices.Contains(names, s) {
			granted = append(granted, s)
		}
	}
	return strings.Join(granted, " "), nil
}

// named returns a sentence that names a requested scope, or "" for what no scope looks like
// and may be a misplaced secret or token.
func named(scope string) string {
	opaque := len(scope) >= 20 && !strings.ContainsAny(scope, ".:/-_")
	if len(scope) > 64 || opaque || !app.ValidScope(scope) || strings.Contains(scope, "at_") || strings.Contains(scope, "rt_") {
		return ""
	}
	return " The first of them is " + scope + "."
}

// sameScope reports whether the requested scope, as narrow understands it, is exactly
// the scope that was granted.
func sameScope(granted, requested string) bool {
	s, err := narrow(scopeNames(granted), requested, "")
	return err == nil && s == granted
}

// common returns the names of granted that are still in may.
func common(granted string, may []string) []string {
	return slices.DeleteFunc(scopeNames(granted), func(s string) bool { return !slices.Contains(may, s) })
}

func scopeNames(scope string) []string {
	return strings.FieldsFunc(scope, func(r rune) bool { return r == ' ' })
}

func scopeError(hint string) error {
	return &apierr.Error{Row: apierr.AuthParameterInvalid, OAuth: "invalid_scope", Hint: hint}
}
