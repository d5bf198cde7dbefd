// Package docs owns the proof that the tutorial and the how-to pages work: each is run
// as described in package pagetest, in an empty directory, with authsvc on the PATH;
// ../deploy is that of the repository. A how-to page begins with the blocks of
// docs/howto/README.md. It also proves that links lead somewhere, and that the map of the
// packages in docs/architecture.md is the code's. Tests only.
package docs
