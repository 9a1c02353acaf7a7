//go:build race

package server

// raceDetector: the detector allocates, so tests that count allocations mean nothing under it.
const raceDetector = true
