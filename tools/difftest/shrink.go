package main

import (
	"slices"
	"strings"
	"time"
)

// shrink looks for a shorter sequence of steps that ends in a difference at the
// same command, by leaving out ever smaller parts (delta debugging), for as long as the budget lasts.
func (c *comparison) shrink(steps []step, d *difference, budget time.Duration) ([]step, *difference) {
	deadline := time.Now().Add(budget)
	steps = steps[:min(d.index+1, len(steps))]
	for size := max(len(steps)/2, 1); ; size /= 2 {
		for from := 0; from < len(steps); {
			if time.Now().After(deadline) {
				return steps, d
			}
			shorter := slices.Concat(steps[:from], steps[min(from+size, len(steps)):])
			again, err := c.runCase(shorter)
			if err != nil || again == nil || !sameCommand(again.step, d.step) {
				from += size
				continue
			}
			steps, d = shorter[:min(again.index+1, len(shorter))], again
		}
		if size <= 1 {
			return steps, d
		}
	}
}

func sameCommand(a, b step) bool {
	return a.kind == b.kind && len(a.args) > 0 && len(b.args) > 0 && strings.EqualFold(a.args[0], b.args[0])
}
