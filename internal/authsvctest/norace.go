//go:build !race

package authsvctest

const raceDetector = false
