//go:build !linux

package main

import (
	"runtime"
	"time"
)

// Without /proc, CPU times are left out of the tables.
func processCPU(int) (time.Duration, bool) { return 0, false }

func machineCPU() (all, stolen float64, ok bool) { return 0, 0, false }

func loadAverage() float64 { return -1 }

func hostNames() (system, cpu string) { return runtime.GOOS, "" }
