//go:build !linux

package check

import "syscall"

// dieWithUs: signals from the terminal are not for it. There is no means to have it end when we are killed.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
