// Package tokenclient owns a client of the token endpoint that shows the exchange: it
// sends one token request, with a transcript in which secrets and tokens are masked,
// and says in plain words why no answer came.
//
// What an answer means, and how it is shown, is for its caller (package cli).
package tokenclient
