//go:build race

package command

// raceDetector: the detector allocates, so tests that count allocations mean nothing under it.
const raceDetector = true
