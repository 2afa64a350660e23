package main

import "syscall"

// dieWithUs: signals from the terminal are not for it; when the thread that started it ends, which is our main thread, so does it.
func dieWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}
