//go:build !linux

package rig

import "syscall"

// dieWithUs: it gets a session of its own; only Linux can tie its end to ours.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
