// Package httpapi owns the HTTP API: it parses a request once into a typed value,
// authenticates the app, makes one call of token.Manager, and renders the answer.
//
// It owns the endpoints (one file each), the form parser, and the order in which the
// rules about a request apply. It does not own how an exchange is answered and logged
// (package answer), what a token is or when it is valid (package token), who an app is
// (package app), what is measured (package telemetry), or the listeners (package
// process).
//
// # Precedence
//
// A request can break several rules; the first one of this list answers. These are the
// rules of the token endpoint, each with its codes (APIG.) and their statuses:
//
//	 0  0201 (414), 0201 (494), 0101 (404), 0201 (413)  URI, headers, path and method, size of the body
//	 1  2204 (400)  Content-Type
//	 2  2206 (400)  more than one way of client authentication, or a scheme other than Basic
//	 3  2205 (400)  body or Basic malformed, known parameter repeated
//	 4  2210 (400), 2209 (400)  grant_type missing, unsupported
//	 5  2211 (400), 2212 (400), 2213 (400)  client_id, client_secret, refresh_token missing
//	 6  2208 (400)  through_data too long
//	 7  2201 (400)  key or secret of the wrong shape
//	 9  1009 (400)  unknown app, or wrong secret
//	10  0502 (405), 0405 (403)  app frozen, address not trusted
//	11  2205 (400)  client_credentials: scope not the app's
//	12  2202 (400)  refresh token malformed, forged, or not a refresh token
//	13  1003 (401)  refresh token of another app
//	14  1001 (401)  refresh token expired
//	15  2202 (400)  refresh token unknown, revoked or replayed
//	16  2205 (400)  scope wider than the grant's; a repeat that requests something else
//
// The numbers 0a, 8 and 17 belong to rules that do not exist yet: addresses that are
// denied everywhere (0402), too many wrong secrets (0308), and limits on token requests
// (0308, 0501). So does 0401 in rule 10: an unknown address is treated as not trusted.
//
// For introspection and revocation, rules 0 to 3, 5 (without refresh_token), 7, 9 and
// 10 hold; for verification, rule 0 without the size of the body. Then come, in order:
//
//	introspect  0304 (403), 2205 (400)
//	revoke      2205 (400), 1003 (401), 2203 (400)
//	verify      2205 (400), 2206 (400), 0305 (401), 2203 (400), 1002 (401), 2203 (400), 1004 (401), 0502 (405), 2203 (400), 0304 (403)
//
// docs/reference/precedence.md has each rule in full, and where it is decided.
package httpapi
