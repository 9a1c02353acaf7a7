//go:build !race

package command

// raceDetector: see race_test.go.
const raceDetector = false
