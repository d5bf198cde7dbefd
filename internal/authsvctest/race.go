//go:build race

package authsvctest

const raceDetector = true
