// Package docs owns the proof that the tutorial and the how-to pages work: each is run
// as package pagetest says, in an empty directory, with authsvc on the PATH; ../deploy
// is the repository's. A how-to page begins with the blocks of docs/howto/README.md.
// Tests only.
package docs
