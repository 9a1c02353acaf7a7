package testnode

import "time"

// Usage is what a process has used since its start.
type Usage struct {
	User, System   time.Duration
	RSS, PeakRSS   int64 // bytes
	Read, Written  int64 // bytes that reached the storage layer
	Threads, Files int
}

// CPU is user and system time together.
func (u Usage) CPU() time.Duration { return u.User + u.System }
